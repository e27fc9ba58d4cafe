"""The vocabulary that every layer shares: pure, frozen values without I/O."""
