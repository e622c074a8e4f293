"""What is missing: which documents an event needs, and how they are fetched."""
