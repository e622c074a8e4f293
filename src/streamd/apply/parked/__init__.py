"""What failed, and what is read again as a whole."""
