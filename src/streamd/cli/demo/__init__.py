"""`streamd demo`."""
