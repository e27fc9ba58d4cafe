"""``python -m ci_buildx`` is ``kube-builder``."""

from ci_buildx.launch import run

run()
