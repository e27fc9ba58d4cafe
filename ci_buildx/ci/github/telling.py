"""The run's summary, and the record of the build as an artifact. Nothing here may fail a build."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_buildx.ci.github import artifacts, files, summary
from ci_buildx.ci.github.artifacts import Service
from ci_buildx.ci.github.commands import SHORTEST_LINE, annotate, maskable_lines
from ci_buildx.ci.github.summary import Page
from ci_buildx.model import masker
from ci_buildx.model.login import MASK
from ci_buildx.model.record import replace
from ci_buildx.settings.booleans import read_boolean
from ci_buildx.settings.given import Given
from ci_buildx.settings.values import Settings

if TYPE_CHECKING:
    from ci_buildx.ci.github.step import Step

SUMMARY_WANTED = "DOCKER_BUILD_SUMMARY"
RECORD_WANTED = "DOCKER_BUILD_RECORD_UPLOAD"
RETENTION = "DOCKER_BUILD_RECORD_RETENTION_DAYS"
RECORD = "record.json"
_SECRET = (
    *masker.SECRET_INPUTS,
    # Where users put credentials, though there are better places: nobody masks what an artifact holds.
    *("cache-from", "cache-to", "outputs", "build-contexts"),
)
_NAMED = "build-args"
"""Of these the names are shown: users put tokens there, though an image's history shows them."""


def tell(step: Step, given: Given, settings: Settings, error: str) -> None:
    """Write the summary and upload the record, as far as the environment wants them and the runner takes them."""
    page = _page(step, given, error)
    if page is None:
        return
    service = _service(step.env)
    if service is not None:
        page = replace(page, artifacts=_upload(service, step, page, settings))
    if read_boolean(step.env.get(SUMMARY_WANTED, "")) is not False:
        files.summarize(step.env, redacted(summary.markdown(page), step.hidden))


def with_timeline(given: Given, env: Mapping[str, str]) -> Given:
    """The inputs with a picture for the artifact, where there will be one and none is asked for."""
    folder = env.get("RUNNER_TEMP")
    if given.text("timeline") or given.text("call") or not folder or _service(env) is None:
        return given
    return given.having(timeline=str(Path(folder) / f"kube-builder-{secrets.token_hex(4)}-timeline.html"))


def _service(env: Mapping[str, str]) -> Service | None:
    """Where the record goes, None where the runner takes none or the environment wants none."""
    return None if read_boolean(env.get(RECORD_WANTED, "")) is False else artifacts.find(env)


def redacted(text: str, hidden: Iterable[str]) -> str:
    """The text without the lines of any secret, as they are or as others and the summary spell them.

    The runner masks its log, not what is shown elsewhere.
    """
    lines = {line for secret in hidden for line in maskable_lines(secret) if len(line.strip()) >= SHORTEST_LINE}
    forms = masker.spelled(lines, shortest=SHORTEST_LINE, page=summary.spellings)
    return masker.without(text, forms)


def _page(step: Step, given: Given, error: str) -> Page | None:
    result, settings = step.result, step.settings
    if step.report is None:
        return None
    sizes: Mapping[str, int] = {}
    if result is not None and settings is not None and result.references:
        from ci_buildx.job import sizes as measured

        sizes = measured.measure(result, settings.builder, step.env)
    return Page(
        report=step.report,
        seconds=time.monotonic() - step.begun,
        error=error,
        result=result,
        sizes=sizes,
        inputs=_shown(given),
    )


def _shown(given: Given) -> dict[str, str]:
    """The inputs without what nobody may see."""
    shown = {name: str(value) for name, value in sorted(given.values.items()) if name not in _SECRET}
    if _NAMED in shown:
        pairs = (text.partition("=") for text in given.texts(_NAMED))
        shown[_NAMED] = "\n".join(f"{name}={MASK}" if equals else name for name, equals, _ in pairs)
    return shown


def _upload(service: Service, step: Step, page: Page, settings: Settings) -> dict[str, str]:
    """Names and addresses of the artifacts; none, and a warning, where it fails."""
    contents = {RECORD: json.dumps(_record(page, step), indent=2) + "\n", **_timeline(settings)}
    hidden = {file: redacted(text, step.hidden).encode() for file, text in contents.items()}
    name = f"{step.name}.build"
    try:
        number = service.upload(name, hidden, days=_days(step.env))
    except artifacts.UploadFailed as failure:
        annotate(step.stdout, "warning", f"the build's record is not uploaded: {failure}")
        return {}
    return {name: f"{step.event.run_url()}/artifacts/{number}"}


def _timeline(settings: Settings) -> dict[str, str]:
    """The picture that the build has drawn, if it has."""
    path = settings.build.timeline
    return {f"timeline{path.suffix}": path.read_text(encoding="utf-8")} if path and path.is_file() else {}


def _record(page: Page, step: Step) -> dict[str, Any]:
    result = page.result
    return {
        "run": step.event.run_url(attempt=True),
        "error": page.error,
        "seconds": round(page.seconds, 3),
        "references": list(result.references) if result else [],
        "platforms": {str(one): page.sizes.get(str(one), 0) for one in result.platforms} if result else {},
        "inputs": dict(page.inputs),
        "metadata": dict(result.metadata) if result else {},
        "steps": [
            {
                "name": one.name,
                "node": one.node,
                "seconds": round(one.seconds, 3),
                "cached": one.cached,
                "error": one.error,
            }
            for one in page.report.summary.steps
        ],
    }


def _days(env: Mapping[str, str]) -> int:
    text = env.get(RETENTION, "")
    return int(text) if text.isdecimal() else 0
