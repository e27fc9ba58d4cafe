"""Driver options: the builder as the user wants it, from buildx's syntax or from YAML, checked."""
