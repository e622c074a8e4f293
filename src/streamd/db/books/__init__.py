"""What streamd keeps of its own in a site's database."""
