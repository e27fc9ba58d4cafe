"""kube-builder: container images built on Kubernetes with BuildKit; no docker CLI, no buildx, no kubectl, no daemon."""

__version__ = "0.1.0"
RUNNER_IMAGE = f"ghcr.io/org/kube-builder/runner:v{__version__}"
"""The image with kube-builder that jobs of GitLab and the reaper run in. A release adds the digest (``.ci/image``)."""
