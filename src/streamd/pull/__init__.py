"""Stage 4: pulls a producer's log, and fetches documents from it.

`peer.py` speaks the protocol with one producer, over `line.py`; `portion.py` says how much to ask for at once;
`pulling.py` keeps asking from the checkpoint on.
"""

from streamd.pull.line import as_here, tls_hint
from streamd.pull.peer import Peer, wanted_doctypes
from streamd.pull.pulling import WAIT_SECONDS, Pull, Pulled

__all__ = ["WAIT_SECONDS", "Peer", "Pull", "Pulled", "as_here", "tls_hint", "wanted_doctypes"]
