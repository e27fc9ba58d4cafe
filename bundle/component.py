"""The templates as CI/CD components: GitLab looks for components in ``templates/`` of a project's root."""

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
_MERGE_HEAD = """\
# Merges images that the jobs of kube-builder pushed by digest, as a CI/CD component:
#
#   include:
#     - component: $CI_SERVER_FQDN/org/kube-builder/merge@v1
#
# `make bundle` writes this file; it is gitlab-template/merge.yml under another head.
"""


def component(template: str) -> str:
    """Return the build's component, made from the template's text."""
    return _write(_HEAD, template)


def merge_component(template: str) -> str:
    """Return the merge's component, made from the template's text."""
    return _write(_MERGE_HEAD, template)


def _write(head: str, template: str) -> str:
    _, spec, rest = template.partition("spec:\n")
    lines = (spec + rest).splitlines()
    return head + "".join(f"{line}\n" for line in lines if "# bundle: " not in line)
