"""Stage 4: pulls a producer's log, and fetches documents from it.

`peer.py` speaks the protocol with one producer, over HTTP (`connection.py`), and adapts how much it asks for in one
request. `pulling.py` pulls pages from the checkpoint on.
"""

from streamd.pull.peer import Peer, wanted_doctypes
from streamd.pull.pulling import WAIT_SECONDS, Puller, PullResult

__all__ = ["WAIT_SECONDS", "Peer", "PullResult", "Puller", "wanted_doctypes"]
