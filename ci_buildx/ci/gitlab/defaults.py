"""Defaults from GitLab's variables, and the trust scope of a job's cache. Pure.

The scope follows the same rules as :mod:`ci_buildx.ci.github.events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.settings.raw_values import RawValues, Value

PROTECTED = ""
UNPROTECTED = "unprotected"


def choose_scope(env: Mapping[str, str], wanted: str = "") -> str:
    """Return a job's trust scope: PROTECTED for protected refs; ``wanted`` overrides it except for forks.

    A merge request's pipeline never counts as protected. If it comes from a fork but runs in this project, it has the
    fork's scope.
    """
    source = env.get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "")
    if source and source != env.get("CI_PROJECT_PATH", ""):
        return f"fork:{source.lower()}"
    if wanted:
        return PROTECTED if wanted == "protected" else wanted
    protected = env.get("CI_COMMIT_REF_PROTECTED") == "true" and not env.get("CI_MERGE_REQUEST_IID")
    return PROTECTED if protected else UNPROTECTED


TIMELINE = "kube-builder-timeline.html"
ID_TOKEN = "KUBE_BUILDER_ID_TOKEN"  # noqa: S105 - a variable's name
"""The ``id_tokens`` entry whose token authenticates to the cluster."""
_OCI = "org.opencontainers.image"


def fill_defaults(given: RawValues, *, folder: Path) -> RawValues:
    """Return the inputs with all defaults; ``folder`` is where GitLab looks for artifacts."""
    env = given.env
    found: dict[str, tuple[Value, str]] = {
        "tags": (make_default_tags(env), "CI_REGISTRY_IMAGE"),
        "labels": (make_default_labels(given), given.find_source("labels")),
        "lifetime": (f"{env['CI_JOB_TIMEOUT']}s" if env.get("CI_JOB_TIMEOUT") else "", "CI_JOB_TIMEOUT"),
        **_read_cluster_defaults(env),
    }
    given = given.with_changes(timeline=str(folder / (given.read_text("timeline") or TIMELINE)))
    missing = {name: pair for name, pair in found.items() if pair[0] and (name == "labels" or _is_missing(given, name))}
    filled = given.with_changes(**{name: value for name, (value, _) in missing.items()})
    return _add_sources(filled, {name: source for name, (_, source) in missing.items()})


def fill_cluster_defaults(given: RawValues) -> RawValues:
    """Return the inputs with the cluster's defaults, which the clean-up needs."""
    found = {
        name: pair for name, pair in _read_cluster_defaults(given.env).items() if pair[0] and _is_missing(given, name)
    }
    filled = given.with_changes(**{name: value for name, (value, _) in found.items()})
    return _add_sources(filled, {name: source for name, (_, source) in found.items()})


def _read_cluster_defaults(env: Mapping[str, str]) -> dict[str, tuple[Value, str]]:
    """Return the cluster's defaults and the variable that each comes from.

    ``KUBE_NAMESPACE`` is used only if GitLab itself connected the job to the cluster; otherwise it is where to deploy.
    """
    connected = bool(env.get("KUBE_URL") and env.get("KUBE_TOKEN"))
    return {
        "namespace": (env.get("KUBE_NAMESPACE", "") if connected else "", "KUBE_NAMESPACE"),
        "kube-context": (env.get("KUBE_CONTEXT", ""), "KUBE_CONTEXT"),
        "oidc": (f"env:{ID_TOKEN}" if env.get(ID_TOKEN) else "", ID_TOKEN),
    }


def make_default_tags(env: Mapping[str, str]) -> list[str]:
    """Return image names in the project's registry, by the ref; none if the project has no registry.

    A Git tag: its name, or its slug if the name is not a valid image tag. A merge request: ``mr-N``. The default
    branch: ``latest`` and the short commit. Any other branch: its slug.
    """
    image = env.get("CI_REGISTRY_IMAGE", "")
    slug = env.get("CI_COMMIT_REF_SLUG", "")
    if not image:
        return []
    if tag := env.get("CI_COMMIT_TAG", ""):
        return [f"{image}:{tag if _is_tag(tag) else slug}"]
    if number := env.get("CI_MERGE_REQUEST_IID", ""):
        return [f"{image}:mr-{number}"]
    if env.get("CI_COMMIT_BRANCH", "") == env.get("CI_DEFAULT_BRANCH", "main"):
        sha = env.get("CI_COMMIT_SHORT_SHA", "")
        return [f"{image}:latest", *([f"{image}:{sha}"] if sha else [])]
    return [f"{image}:{slug}"] if slug else []


def make_default_labels(given: RawValues) -> list[str]:
    """Return OCI labels of the commit and its project, then the user's, which override them.

    ``created`` is the commit's time, not the job's, so that two builds of one commit make the same image.
    """
    env, own = given.env, given.read_texts("labels")
    known = {
        "source": env.get("CI_PROJECT_URL", ""),
        "url": env.get("CI_PROJECT_URL", ""),
        "revision": env.get("CI_COMMIT_SHA", ""),
        "created": env.get("CI_COMMIT_TIMESTAMP", ""),
        "version": env.get("CI_COMMIT_TAG", "") or env.get("CI_COMMIT_REF_SLUG", ""),
        "title": env.get("CI_PROJECT_TITLE", "") or env.get("CI_PROJECT_NAME", ""),
        "description": " ".join(env.get("CI_PROJECT_DESCRIPTION", "").split()),
    }
    named = {text.partition("=")[0] for text in own}
    made = [f"{_OCI}.{key}={value}" for key, value in known.items() if value and f"{_OCI}.{key}" not in named]
    return [*made, *own]


def _is_missing(given: RawValues, name: str) -> bool:
    return not (given.read_texts(name) if given.known[name].repeatable else given.read_text(name))


def _is_tag(text: str) -> bool:
    from ci_buildx.model import reference

    return reference.is_tag(text)


def _add_sources(given: RawValues, sources: Mapping[str, str]) -> RawValues:
    from ci_buildx.model.record import replace

    return replace(given, sources={**given.sources, **sources})
