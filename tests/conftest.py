"""Being here makes the repository importable from every test, as `tests.…`."""
