"""The user's input, parsed once: pure functions from text to frozen values, every error naming its source."""
