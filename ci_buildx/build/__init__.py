"""One build, from settings to result."""
