"""The builder on the cluster: plan and manifests (pure), boot, diagnosis, lifecycle and reaping."""
