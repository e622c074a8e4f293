"""Connections of clients: which stay open, and who is calling over them."""
