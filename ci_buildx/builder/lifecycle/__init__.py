"""Builders made, found, changed and removed."""
