"""Signals, threads and phases of one run."""
