"""Shares a lasting builder's pods among builds: slots, placement and the queue."""
