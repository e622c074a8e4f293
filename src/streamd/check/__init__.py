"""Everything that `streamd check` judges: this site's own configuration, and whether two sites fit each other."""
