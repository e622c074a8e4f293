"""Helpers that every stage uses. None of them depends on a stage."""
