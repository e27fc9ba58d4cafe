"""A build over time, as values, and the pictures and pages of it."""
