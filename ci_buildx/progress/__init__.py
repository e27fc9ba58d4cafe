"""Progress of a build: one reducer of status streams, several displays."""
