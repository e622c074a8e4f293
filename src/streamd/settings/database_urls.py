"""The functions of `db` that parse and show database URLs."""

from streamd.db.urls import anchored, canonical, database_url, same_database, shown_url, state_url

__all__ = ["anchored", "canonical", "database_url", "same_database", "shown_url", "state_url"]
