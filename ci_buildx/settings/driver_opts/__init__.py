"""Driver options: their table, their texts and YAML, and the checks of their values."""
