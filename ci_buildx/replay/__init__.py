"""Builds an image again from its provenance: subjects, checks, pinned sources, snapshots and comparisons."""
