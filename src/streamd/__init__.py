"""streamd keeps the documents of several sites, each with its own SQL database, in sync.

One event's way through the code: `capture` → `update_log` → `serve` → `pull` → `apply`.
The words used everywhere are defined in `model`.
"""

__version__ = "0.1.0"
