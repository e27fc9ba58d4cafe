"""The builder on the cluster: plan and manifests (pure functions), boot, diagnosis, lifecycle and reaping."""
