"""Watches a builder's pods while they start and are in use, and diagnoses their failures."""
