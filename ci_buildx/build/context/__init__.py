"""Inputs of a build: files, their times, the checkout, and the keys that identify it."""
