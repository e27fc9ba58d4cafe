"""Images in registries and OCI layouts: shows them, and makes new ones from existing ones."""
