"""OCI registries: references, credentials, blobs and manifests, the merge of an index."""
