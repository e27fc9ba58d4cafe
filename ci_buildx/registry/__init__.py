"""OCI registries: references, credentials, blobs and manifests, merging of indexes."""
