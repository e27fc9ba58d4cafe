"""``bake``: definitions of many targets in HCL, JSON and compose files, as docker buildx 0.38.2 reads them."""
