"""Our codecs and the libraries that others keep say the same to the same bytes."""
