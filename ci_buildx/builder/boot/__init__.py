"""Watching of a builder's pods while they start and are in use, and diagnosis of their failures."""
