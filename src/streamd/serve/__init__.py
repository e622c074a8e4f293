"""Stage 3: serves the update log, and the documents that go with it, to the consumers that were approved.

`app` has the server, `handlers` its endpoints; `events` answers with pages of the log, `documents` with
documents as they are now; `authentication` says who asks, `services` what they may have.
"""

from __future__ import annotations

from streamd.serve.app import Server, make_app
from streamd.serve.services import Services

__all__ = ["Server", "Services", "make_app"]
