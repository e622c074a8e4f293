"""What several kinds of tests need: sites as folders with real daemons, polling, comparing."""
