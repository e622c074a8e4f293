"""Stage 3: serves the update log and documents to approved consumers.

`app.py` has the server and `handlers.py` its endpoints. `events.py` serves pages of the log; `documents.py` and
`listing.py` serve documents and names as they are now. `connections/` authenticates clients and
limits what they can use. `services.py` resolves what a caller may read.
"""

from __future__ import annotations

from streamd.serve.app import Server
from streamd.serve.services import Services

__all__ = ["Server", "Services"]
