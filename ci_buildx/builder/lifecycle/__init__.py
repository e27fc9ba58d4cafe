"""Creation, lookup, change and removal of builders."""
