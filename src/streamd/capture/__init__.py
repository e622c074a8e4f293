"""Stage 1: from the change table to events in the Event Update Log.

`forming` decides, purely, which events a batch of changes makes; `tail` claims the changes and appends the events.
"""

from streamd.capture.tail import Capture

__all__ = ["Capture"]
