"""What came: events as they arrive, and in the words of this site. Pure."""
