"""What an event does to this site. Pure."""
