"""Entry point of ``python -m ci_buildx``: runs the ``kube-builder`` command."""

from ci_buildx.launch import run

run()
