"""The run's summary, and the build record as an artifact. Failures here never fail a build."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import time
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ci_buildx.ci.github import commands, summary
from ci_buildx.ci.github.commands import SHORTEST_LINE, list_maskable_lines, write_annotation
from ci_buildx.ci.github.summary import SummaryPage
from ci_buildx.model import http_calls, masker
from ci_buildx.model.documents import parse_json
from ci_buildx.model.plaintext import MASK, UNENCODABLE
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.option import OptionKind
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import read_boolean
from ci_buildx.settings.values import Settings

if TYPE_CHECKING:
    from ci_buildx.ci.github.state import ActionStep

SUMMARY_WANTED = "DOCKER_BUILD_SUMMARY"
RECORD_WANTED = "DOCKER_BUILD_RECORD_UPLOAD"
RETENTION = "DOCKER_BUILD_RECORD_RETENTION_DAYS"
RECORD = "record.json"
_SECRET = (
    *masker.SECRET_INPUTS,
    # Users sometimes put credentials here, and GitHub does not mask artifacts.
    *("cache-from", "cache-to", "outputs", "build-contexts"),
)
_PAIRS = ("build-args", "vars", "set")
_SECRET_KEYS = ("cache-from", "cache-to", "contexts", "output", "secret")
"""Attributes of targets in which users sometimes put credentials."""


def write_report(step: ActionStep, given: RawValues, settings: Settings, error: str) -> None:
    """Write the summary and upload the record, if the environment wants them and the runner supports them."""
    page = _make_page(step, given, error)
    if page is None:
        return
    service = _find_service(step.env)
    if service is not None:
        page = replace(page, artifacts=_upload_record(service, step, page, settings))
    if read_boolean(step.env.get(SUMMARY_WANTED, "")) is not False:
        commands.append_summary(step.env, redact_text(summary.render_summary(page), step.hidden, step.env))


def add_timeline(given: RawValues, env: Mapping[str, str]) -> RawValues:
    """Add a timeline for the artifact to the inputs, if the record will be uploaded and none is requested."""
    folder = env.get("RUNNER_TEMP")
    if given.read_text("timeline") or given.read_text("call") or not folder or _find_service(env) is None:
        return given
    return given.replace_values(timeline=str(Path(folder) / f"kube-builder-{secrets.token_hex(4)}-timeline.html"))


def _find_service(env: Mapping[str, str]) -> ArtifactService | None:
    """Return the artifact service, or None if the runner has none or the environment disables the upload."""
    return None if read_boolean(env.get(RECORD_WANTED, "")) is False else find_artifact_service(env)


def redact_text(text: str, hidden: Iterable[str], env: Mapping[str, str]) -> str:
    """Mask each line of the secrets in the text, also in other encodings and in the summary's spelling.

    ``env`` is the environment, whose secrets are masked as in the log. The runner masks only its log.
    """
    lines = {line for secret in hidden for line in list_maskable_lines(secret) if len(line.strip()) >= SHORTEST_LINE}
    forms = masker.list_spellings(lines, shortest=SHORTEST_LINE, page=summary.list_spellings)
    of_process = masker.list_spellings(masker.find_environment_secrets(env), page=summary.list_spellings)
    return masker.mask_secrets(text, sorted({*forms, *of_process}, key=len, reverse=True))


def _make_page(step: ActionStep, given: RawValues, error: str) -> SummaryPage | None:
    result, settings = step.result, step.settings
    if step.report is None:
        return None
    sizes: Mapping[str, int] = {}
    if result is not None and settings is not None and result.references:
        from ci_buildx.build import publish as measured

        sizes = measured.measure_images(result, settings.builder, step.env)
    return SummaryPage(
        report=step.report,
        seconds=time.monotonic() - step.begun,
        error=error,
        result=result,
        sizes=sizes,
        inputs=_select_shown(given),
        targets=step.targets,
        definition=json.dumps(step.definition, indent=2) if step.definition else "",
    )


def _select_shown(given: RawValues) -> dict[str, str]:
    """Return the inputs that may be shown and are not their defaults.

    A build argument is shown unless its name marks it as a secret: an image's history shows its value as well. Known
    secrets, and what looks like a token, are masked later.
    """
    shown = {
        name: str(value)
        for name, value in sorted(given.values.items())
        if name not in _SECRET and not _is_default(given, name)
    }
    for name in shown.keys() & set(_PAIRS):
        shown[name] = "\n".join(map(_mask_pair, given.read_texts(name)))
    return shown


def _is_default(given: RawValues, name: str) -> bool:
    """Return whether an input has the value that it has without being set."""
    option = given.known.get(name)
    value = str(given.values[name]).strip()
    if option is None or not option.default:
        return not value
    if option.kind is OptionKind.SWITCH:
        return read_boolean(value) is read_boolean(option.default)
    return value == option.default


def _mask_pair(text: str) -> str:
    name, equals, value = text.partition("=")
    key = name.removesuffix("+").partition(".")[2].removesuffix("s")
    bare = name.rpartition(".")[2]  # of an override: TARGET.args.NAME
    hidden = masker.is_secret_name(bare) or any(masker.find_pair_secrets(bare, value)) or key.startswith(_SECRET_KEYS)
    return f"{name}={MASK}" if equals and value and hidden else text


def _upload_record(service: ArtifactService, step: ActionStep, page: SummaryPage, settings: Settings) -> dict[str, str]:
    """Upload the record. Returns the artifacts' addresses by name, or nothing and a warning if it fails."""
    contents = {RECORD: json.dumps(_make_record(page, step), indent=2) + "\n", **_read_timeline(settings)}
    hidden = {
        file: redact_text(text, step.hidden, step.env).encode(errors=UNENCODABLE) for file, text in contents.items()
    }
    name = f"{step.name}.build"
    try:
        number = service.upload(name, hidden, days=_read_retention_days(step.env))
    except UploadFailed as failure:
        write_annotation(step.stdout, "warning", f"the build record was not uploaded: {failure}")
        return {}
    return {name: f"{step.event.run_url()}/artifacts/{number}"}


def _read_timeline(settings: Settings) -> dict[str, str]:
    """Return the timeline's content by file name, if the build wrote one."""
    path = settings.build.timeline
    return {f"timeline{path.suffix}": path.read_text(encoding="utf-8")} if path and path.is_file() else {}


def _make_record(page: SummaryPage, step: ActionStep) -> dict[str, Any]:
    result = page.result
    return {
        "run": step.event.run_url(attempt=True),
        "error": page.error,
        "seconds": round(page.seconds, 3),
        "references": list(result.references) if result else [],
        "platforms": {str(one): page.sizes.get(str(one), 0) for one in result.platforms} if result else {},
        "inputs": dict(page.inputs),
        "metadata": dict(result.metadata) if result else {},
        **({"targets": {name: dict(one.metadata) for name, one in page.targets.items()}} if page.targets else {}),
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


def _read_retention_days(env: Mapping[str, str]) -> int:
    text = env.get(RETENTION, "")
    return int(text) if text.isdecimal() else 0


VERSION = 4
_SCOPE = "Actions.Results:"
_SERVICE = "twirp/github.actions.results.api.v1.ArtifactService"
_PATIENCE = 30.0
_UPLOAD = 300.0
"""Deadline of an upload, in seconds."""
_BLOCK = "block-00000000"
_EPOCH = (1980, 1, 1, 0, 0, 0)


class UploadFailed(Exception):
    """The service refused the request, or did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactService:
    """The artifact service of a run; ``run`` and ``job`` are the service's own IDs."""

    url: str
    token: str
    run: str
    job: str

    def upload(self, name: str, contents: Mapping[str, bytes], *, days: int = 0) -> str:
        """Upload an artifact of the contents, by file name, and return its ID. Raises UploadFailed.

        ``days`` is how long to keep it; 0 means the repository's default.
        """
        archive = _make_zip(contents)
        which = {"workflowRunBackendId": self.run, "workflowJobRunBackendId": self.job, "name": name}
        until = {"expiresAt": _make_expiry(days)} if days else {}
        created = self._call("CreateArtifact", {**which, **until, "version": VERSION})
        self._put(str(created.get("signedUploadUrl", "")), archive)
        digest = f"sha256:{hashlib.sha256(archive).hexdigest()}"
        finished = self._call("FinalizeArtifact", {**which, "size": str(len(archive)), "hash": digest})
        return str(finished.get("artifactId", ""))

    def _call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        import requests

        url = f"{self.url.rstrip('/')}/{_SERVICE}/{method}"
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            answer = http_calls.send_request("POST", url, json=body, headers=headers, timeout=_PATIENCE)
            found = answer.json() if answer.ok else None
        except (requests.RequestException, ValueError) as error:
            raise UploadFailed(f"{method}: {type(error).__name__}") from error
        if not isinstance(found, dict) or not found.get("ok"):
            raise UploadFailed(f"{method}: HTTP {answer.status_code}")
        return found

    def _put(self, url: str, archive: bytes) -> None:
        import requests

        block = base64.b64encode(_BLOCK.encode()).decode()
        listed = f'<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>{block}</Latest></BlockList>'
        try:
            for parameters, body in (
                ({"comp": "block", "blockid": block}, archive),
                ({"comp": "blocklist"}, listed.encode()),
            ):
                answer = http_calls.send_request(
                    "PUT", url, params=parameters, data=body, timeout=_PATIENCE, deadline=_UPLOAD
                )
                if not answer.ok:
                    raise UploadFailed(f"upload: HTTP {answer.status_code}")
        except requests.RequestException as error:
            raise UploadFailed(f"upload: {type(error).__name__}") from error


def find_artifact_service(env: Mapping[str, str]) -> ArtifactService | None:
    """Find the artifact service of this run. None if the runner offers none; GitHub Enterprise Server lacks it."""
    url, token = env.get("ACTIONS_RESULTS_URL", ""), env.get("ACTIONS_RUNTIME_TOKEN", "")
    if not (url and token) or _is_enterprise_server(env.get("GITHUB_SERVER_URL", "")):
        return None
    for scope in str(_read_claims(token).get("scp", "")).split():
        run, _, job = scope.removeprefix(_SCOPE).partition(":")
        if scope.startswith(_SCOPE) and run and job:
            return ArtifactService(url=url, token=token, run=run, job=job)
    return None


def _read_claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT without verifying it: the service itself does that."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = parse_json(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def _is_enterprise_server(url: str) -> bool:
    """Return whether it is GitHub Enterprise Server, as actions/toolkit decides.

    Source: ``packages/artifact/src/internal/shared/config.ts``, ``isGhes``.
    """
    host = (urlsplit(url).hostname or "").lower()
    return bool(host) and not (host == "github.com" or host.endswith((".ghe.com", ".localhost")))


def _make_zip(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), content, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _make_expiry(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
