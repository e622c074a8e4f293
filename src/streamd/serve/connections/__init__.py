"""Who may be connected, and who is asking."""
