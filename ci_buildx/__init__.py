"""kube-builder: container images built on Kubernetes with BuildKit; no docker CLI, no buildx, no kubectl, no daemon."""

__version__ = "0.1.0"
