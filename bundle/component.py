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
_BAKE_HEAD = """\
# Builds the targets of a bake definition on Kubernetes, as a CI/CD component:
#
#   include:
#     - component: $CI_SERVER_FQDN/org/kube-builder/bake@v1
#       inputs:
#         targets: ["app", "worker"]
#         push: true
#
# `make bundle` writes this file; it is gitlab-template/bake.yml under another head.
"""


def component(template: str) -> str:
    """Return the build's component, made from the template's text."""
    return _write(_HEAD, template)


def merge_component(template: str) -> str:
    """Return the merge's component, made from the template's text."""
    return _write(_MERGE_HEAD, template)


def bake_component(template: str) -> str:
    """Return the bake's component, made from the template's text."""
    return _write(_BAKE_HEAD, template)


def _write(head: str, template: str) -> str:
    _, spec, rest = template.partition("spec:\n")
    lines = (spec + rest).splitlines()
    return head + "".join(f"{line}\n" for line in lines if "# bundle: " not in line)
