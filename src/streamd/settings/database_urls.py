"""What the configuration asks of `db` about URLs of databases."""

from streamd.db.urls import anchored, canonical, database_url, same_database, shown_url, state_url

__all__ = ["anchored", "canonical", "database_url", "same_database", "shown_url", "state_url"]
