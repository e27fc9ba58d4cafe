"""Values that all layers share: pure and frozen, without I/O."""
