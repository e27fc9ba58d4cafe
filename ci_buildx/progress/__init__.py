"""What the build is doing: one reducer, several displays."""
