"""Images in registries and OCI layouts: shows them, and makes new ones of existing ones."""
