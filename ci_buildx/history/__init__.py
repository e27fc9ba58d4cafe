"""Finished builds as buildkitd remembers them: what `kube-builder history` shows and exports."""
