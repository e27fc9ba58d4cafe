"""One build from settings to result, and its teardown: the only place where all layers meet."""
