"""The template as a CI/CD component: GitLab looks for components in ``templates/`` of a project's root."""

from __future__ import annotations

_HEAD = """\
# Builds a container image on Kubernetes, as a CI/CD component:
#
#   include:
#     - component: $CI_SERVER_FQDN/org/kube-builder/kube-builder@v1
#       inputs:
#         platforms: ["linux/amd64", "linux/arm64"]
#         push: true
#
# `make bundle` writes this file; it is gitlab-template/kube-builder.yml under another head.
"""


def component(template: str) -> str:
    """Return the component's text, made from the template's."""
    _, spec, rest = template.partition("spec:\n")
    lines = (spec + rest).splitlines()
    return _HEAD + "".join(f"{line}\n" for line in lines if "# bundle: " not in line)
