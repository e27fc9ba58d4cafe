"""Signals, threads and phase timings of one run."""
