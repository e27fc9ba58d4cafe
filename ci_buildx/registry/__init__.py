"""OCI registries: credentials, blobs and manifests, merging of indexes."""
