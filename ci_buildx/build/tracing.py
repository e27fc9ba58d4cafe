"""Sends the trace of a build to an OpenTelemetry collector, by OTLP/HTTP in JSON. Never fails the build.

The variables are those of OpenTelemetry's specification 1.x (``protocol/exporter.md``, ``configuration/sdk-environment-
variables.md``). ``TRACEPARENT`` and ``TRACESTATE`` have the form of W3C Trace Context, ``traceparent``.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from ci_buildx.errors import InputError, Interrupted
from ci_buildx.model.masker import mask_secrets
from ci_buildx.model.record import dataclass, field
from ci_buildx.model.secret import Secret
from ci_buildx.progress.display import BuildDisplay
from ci_buildx.progress.spans import BuildTrace, TraceSpan, encode_trace
from ci_buildx.runtime.phases import PhaseTimes
from ci_buildx.runtime.signals import start_thread

SEND_TIME = 2.0
"""Seconds that sending may delay the end of a build, whatever the collector does."""
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_PATH = "/v1/traces"
_JSON = "http/json"
_BINARY = "http/protobuf"
_SERVICE = "kube-builder"
_WORK = "build"
"""The phase that the steps of a build are in."""
_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-.*)?"
)
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_SAMPLED = 1
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceParent:
    """The span that called this process: ids in hex. ``sampled``: its trace is recorded."""

    trace: str
    span: str = ""
    state: str = ""
    sampled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEndpoint:
    """Where a trace is sent: ``url`` may have a login, ``headers`` credentials."""

    url: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    gzip: bool = False
    resource: Mapping[str, str] = field(default_factory=dict)


class BuildTracer:
    """The trace of a build while it runs. ``header`` is the ``traceparent`` for the calls that build."""

    def __init__(self, parent: TraceParent, endpoint: TraceEndpoint | None) -> None:
        self.parent = parent
        self.endpoint = endpoint
        self.begin = time.time()
        self.root = make_span_id()
        self.work = make_span_id()

    @property
    def header(self) -> str:
        """The W3C ``traceparent`` of the span that all vertexes are below."""
        return f"00-{self.parent.trace}-{self.work}-{'01' if self.parent.sampled else '00'}"


@contextmanager
def trace_build(
    shown: BuildDisplay, phases: PhaseTimes, env: Mapping[str, str], *, verb: str, title: str, version: str
) -> Iterator[str]:
    """Trace the block, which is one run of ``verb`` that builds ``title``; yields the header for calls.

    The trace is sent at the end of the block, whether it succeeds or not. Whatever goes wrong is a warning.
    """
    tracer = BuildTracer(read_parent(env), _read_endpoint(shown, env))
    if tracer.endpoint is not None:
        start_thread(_import_requests)
    failure = ""
    try:
        yield tracer.header
    except BaseException as error:
        failure = "stopped by a signal" if isinstance(error, Interrupted) else str(error) or type(error).__name__
        raise
    finally:
        if tracer.endpoint is not None and tracer.parent.sampled:
            _send(tracer, tracer.endpoint, shown, phases, (verb, title, version, failure.partition("\n")[0]))


def _import_requests() -> None:
    import requests

    assert requests.__version__


def read_parent(env: Mapping[str, str]) -> TraceParent:
    """Return the caller's span, or a new trace if the variable is missing or, as W3C requires, malformed."""
    found = _PARENT.fullmatch(env.get("TRACEPARENT", "").strip())
    if found is None:
        return TraceParent(trace=os.urandom(16).hex())
    state = env.get("TRACESTATE", "").strip()
    return TraceParent(
        trace=found["trace"],
        span=found["span"],
        state=state if _STATE.fullmatch(state) else "",
        sampled=bool(int(found["flags"], 16) & _SAMPLED),
    )


def _read_endpoint(shown: BuildDisplay, env: Mapping[str, str]) -> TraceEndpoint | None:
    try:
        return read_endpoint(env, warn=shown.warn)
    except InputError as error:
        shown.warn(f"no trace is sent: {error}")
        return None


def read_endpoint(env: Mapping[str, str], *, warn: Any = lambda _: None) -> TraceEndpoint | None:
    """Return where traces go, None if nowhere. Raises InputError for what cannot be used."""
    own, common = env.get(_TRACES_ENDPOINT, "").strip(), env.get(_ENDPOINT, "").strip()
    off = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"
    if not (own or common) or off:
        return None
    source = _TRACES_ENDPOINT if own else _ENDPOINT
    url = own or f"{common.rstrip('/')}{_PATH}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError("not a URL with http or https", source=source, fix="write it like http://collector:4318")
    protocol = _read_either(env, "PROTOCOL")
    if protocol not in ("", _JSON, _BINARY):
        source = "OTEL_EXPORTER_OTLP_PROTOCOL"
        raise InputError(f"protocol {protocol!r} is not supported", source=source, fix=f"set {_JSON}")
    if protocol == _BINARY:
        warn(f"the trace is sent as {_JSON}, not {_BINARY}; collectors accept both at the same URL")
    return TraceEndpoint(
        url=url,
        headers={name: Secret(value) for name, value in _read_pairs(_read_either(env, "HEADERS")).items()},
        gzip=_read_either(env, "COMPRESSION") == "gzip",
        resource=_read_resource(env),
    )


def _read_either(env: Mapping[str, str], name: str) -> str:
    """Return a variable for traces or, without one, that for all signals."""
    return (env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or "").strip()


def _read_pairs(text: str) -> dict[str, str]:
    """Parse ``name=value,name=value`` with percent-encoded values; what is malformed is left out (W3C Baggage)."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    found = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    usable = (one for one in found.items() if _HEADER.fullmatch(one[0]) and one[1].isprintable() and one[1].isascii())
    return dict(usable)


def _read_resource(env: Mapping[str, str]) -> dict[str, str]:
    found = _read_pairs(env.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    return {**found, "service.name": env.get("OTEL_SERVICE_NAME") or found.get("service.name") or _SERVICE}


def make_span_id() -> str:
    """Make a span's id, which is random."""
    return os.urandom(8).hex()


def _send(
    tracer: BuildTracer,
    endpoint: TraceEndpoint,
    shown: BuildDisplay,
    phases: PhaseTimes,
    about: tuple[str, str, str, str],
) -> None:
    """Send the trace, waiting at most SEND_TIME; a name server or a collector that hangs is left behind."""
    over = threading.Event()
    problems: list[str] = []

    def work() -> None:
        try:
            _post(make_body(tracer, endpoint, shown, phases, about), endpoint)
        except Exception as error:
            hidden = [one.reveal().decode(errors="replace") for one in endpoint.headers.values()]
            problems.append(mask_secrets(str(error) or type(error).__name__, hidden))
        finally:
            over.set()

    start_thread(work)
    if not over.wait(SEND_TIME):
        problems.append(f"no answer within {SEND_TIME:.0f} s")
    for problem in problems:
        shown.warn(f"the trace was not sent to {urlsplit(endpoint.url).hostname}: {' '.join(problem.split())[:300]}")


def make_body(
    tracer: BuildTracer,
    endpoint: TraceEndpoint,
    shown: BuildDisplay,
    phases: PhaseTimes,
    about: tuple[str, str, str, str],
) -> bytes:
    """Return the request's body; ``about`` is verb, title, version and failure. Secrets are masked."""
    verb, title, version, failure = about
    end = time.time()
    mask = shown.mask
    failure = mask(failure)
    root = TraceSpan(
        id=tracer.root,
        parent=tracer.parent.span,
        name=f"{_SERVICE} {verb}",
        begin=tracer.begin,
        end=end,
        attributes={"kube_builder.build": mask(title)} if title else {},
        error=failure,
    )
    ours = [
        TraceSpan(
            id=tracer.work if name == _WORK else make_span_id(),
            parent=tracer.root,
            name=f"phase {name}",
            begin=begin,
            end=phases.ended.get(name, end),
            error=failure if name not in phases.ended else "",
        )
        for name, begin in phases.begun.items()
    ]
    steps = shown.list_spans(parent=tracer.work, phases=tracer.root, make_id=make_span_id)
    spans = [root, *ours, *steps]
    trace = BuildTrace(
        id=tracer.parent.trace,
        spans=spans,
        version=version,
        resource={key: mask(value) for key, value in {**endpoint.resource, "service.version": version}.items()},
        state=tracer.parent.state,
    )
    return json.dumps(encode_trace(trace), separators=(",", ":"), ensure_ascii=False).encode()


def _post(body: bytes, endpoint: TraceEndpoint) -> None:
    from ci_buildx.model.http_calls import send_request

    headers = {name: value.reveal().decode() for name, value in endpoint.headers.items()}
    headers["Content-Type"] = "application/json"
    if endpoint.gzip:
        import gzip

        body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
    answer = send_request(
        "POST", endpoint.url, headers=headers, data=body, timeout=SEND_TIME, deadline=SEND_TIME, allow_redirects=False
    )
    if answer.status_code >= 300:
        raise OSError(f"the collector answered with status {answer.status_code}")
