"""What a job's own variables say where its inputs say nothing (GitLab 18, "Predefined CI/CD variables"). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_buildx.settings.given import Given, Value

TIMELINE = "kube-builder-timeline.html"
ID_TOKEN = "KUBE_BUILDER_ID_TOKEN"  # noqa: S105 - a variable's name
"""The ``id_tokens`` entry whose token the cluster takes."""
_OCI = "org.opencontainers.image"


def fill(given: Given, *, folder: Path) -> Given:
    """The inputs with all defaults; ``folder`` is where GitLab looks for artifacts."""
    env = given.env
    found: dict[str, tuple[Value, str]] = {
        "tags": (tags(env), "CI_REGISTRY_IMAGE"),
        "labels": (labels(given), given.source("labels")),
        "lifetime": (f"{env['CI_JOB_TIMEOUT']}s" if env.get("CI_JOB_TIMEOUT") else "", "CI_JOB_TIMEOUT"),
        **_of_cluster(env),
    }
    given = given.having(timeline=str(folder / (given.text("timeline") or TIMELINE)))
    missing = {name: pair for name, pair in found.items() if pair[0] and (name == "labels" or _is_missing(given, name))}
    filled = given.having(**{name: value for name, (value, _) in missing.items()})
    return _sourced(filled, {name: source for name, (_, source) in missing.items()})


def of_cluster(given: Given) -> Given:
    """The inputs with the defaults that lead to the cluster: what the clean-up needs."""
    found = {name: pair for name, pair in _of_cluster(given.env).items() if pair[0] and _is_missing(given, name)}
    filled = given.having(**{name: value for name, (value, _) in found.items()})
    return _sourced(filled, {name: source for name, (_, source) in found.items()})


def _of_cluster(env: Mapping[str, str]) -> dict[str, tuple[Value, str]]:
    """``KUBE_NAMESPACE`` counts where GitLab itself has connected the job: elsewhere it is where to deploy."""
    connected = bool(env.get("KUBE_URL") and env.get("KUBE_TOKEN"))
    return {
        "namespace": (env.get("KUBE_NAMESPACE", "") if connected else "", "KUBE_NAMESPACE"),
        "kube-context": (env.get("KUBE_CONTEXT", ""), "KUBE_CONTEXT"),
        "oidc": (f"env:{ID_TOKEN}" if env.get(ID_TOKEN) else "", ID_TOKEN),
    }


def tags(env: Mapping[str, str]) -> list[str]:
    """Names in the project's own registry, by the ref; none where the project has none.

    A tag's name (as a slug where an image's tag cannot be that), ``mr-N`` for a merge request, ``latest`` and the
    short commit for the default branch, the branch's slug for any other.
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


def labels(given: Given) -> list[str]:
    """OCI's labels of the commit and its project, then those of the user's, which count.

    ``created`` is the commit's time, not the job's: two builds of one commit make the same image.
    """
    env, own = given.env, given.texts("labels")
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


def _is_missing(given: Given, name: str) -> bool:
    return not (given.texts(name) if given.known[name].repeatable else given.text(name))


def _is_tag(text: str) -> bool:
    from ci_buildx.model import reference

    return reference.is_tag(text)


def _sourced(given: Given, sources: Mapping[str, str]) -> Given:
    from ci_buildx.model.record import replace

    return replace(given, sources={**given.sources, **sources})
