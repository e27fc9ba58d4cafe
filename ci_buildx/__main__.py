"""``python -m ci_buildx`` is ``kube-builder``."""

from ci_buildx.cli.main import run

run()
