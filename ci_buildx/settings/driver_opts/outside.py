"""Driver options that come from outside: pod template, proxy variables and certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_buildx.errors import InputError
from ci_buildx.model.documents import MalformedDocument, parse_yaml
from ci_buildx.model.record import dataclass
from ci_buildx.model.secret import Secret
from ci_buildx.settings.builder import BuilderProxy
from ci_buildx.settings.contexts import refuse_escape
from ci_buildx.settings.driver_opts import checks, strategic_merge
from ci_buildx.settings.names import suggest_name

_FIELDS = ("metadata", "spec")
_MARKS = ("labels", "annotations")


def check_template(template: Mapping[str, Any], *, source: str) -> Mapping[str, Any]:
    """Check a PodTemplateSpec, or a part of one to merge. Raises InputError."""
    _check_fields(template, _FIELDS, "", source)
    metadata = template.get("metadata") or {}
    _check_fields(metadata, _MARKS, "metadata", source)
    for field in _MARKS:
        _check_marks(metadata.get(field) or {}, f"metadata.{field}", source)
    checks.refuse_reserved_labels(map(str, metadata.get("labels") or ()), source=source)
    checks.refuse_reserved_annotations(map(str, metadata.get("annotations") or ()), source=source)
    if fault := strategic_merge.find_fault(template):
        raise InputError(fault, source=source)
    return template


def _check_marks(marks: Any, path: str, source: str) -> None:
    if not isinstance(marks, Mapping):
        raise InputError(f"{path} is not a mapping", source=source)
    for name, value in marks.items():
        if not isinstance(value, str | None):
            raise InputError(f"{path}.{name} is {value!r}, which is not a string", source=source, fix="quote it")


def _check_fields(value: Any, known: tuple[str, ...], path: str, source: str) -> None:
    if not isinstance(value, Mapping):
        raise InputError(f"{path or 'the template'} is not a mapping", source=source)
    for field in value:
        if field not in known:
            where = f"{path}.{field}".lstrip(".")
            raise InputError(f"unknown field {where!r}", source=source, fix=suggest_name(str(field), known))


_PEM = "-----BEGIN "


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalInputs:
    """The environment, and the folder that relative file names start from."""

    env: Mapping[str, str]
    cwd: Path

    def read_proxy(self, wanted: bool, *, source: str) -> BuilderProxy | None:
        """Read HTTP_PROXY, HTTPS_PROXY and NO_PROXY, also in lower case; return None if no proxy is ``wanted``.

        Raises InputError if a proxy is wanted and no variable is set.
        """
        if not wanted:
            return None
        http, https = self._read_variable("HTTP_PROXY"), self._read_variable("HTTPS_PROXY")
        if not http and not https:
            raise InputError("neither HTTP_PROXY nor HTTPS_PROXY is set", source=source, fix="set one of them")
        excepted = (host.strip() for host in self._read_variable("NO_PROXY").split(","))
        return BuilderProxy(
            http=Secret(http) if http else None,
            https=Secret(https) if https else None,
            no_proxy=tuple(host for host in excepted if host),
        )

    def read_certificates(self, items: Sequence[str], *, source: str) -> str:
        """Return the PEM text of certificates from texts and files. Raises InputError for invalid ones."""
        texts = [item if _PEM in item else self.read(item, source=source) for item in items]
        for item, text in zip(items, texts, strict=True):
            _check_certificates(text, "the text" if item is text else item, source)
        return "".join(f"{text.strip()}\n" for text in texts)

    def read_template(self, value: Any, *, source: str) -> Mapping[str, Any]:
        """Read a pod template: a mapping, YAML or JSON text, or the name of a file. Raises InputError."""
        if isinstance(value, str):
            inline = "\n" in value or value.startswith("{")
            name = "" if inline else value
            value = load_mapping(value if inline else self.read(value, source=source), name=name, source=source)
        return check_template(value, source=source)

    def read(self, name: str, *, source: str) -> str:
        """Read the text of a file. Raises InputError."""
        path = refuse_escape(self.cwd / name, source=source, env=self.env)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(f"cannot read {name!r}: {reason}", source=source) from error

    def _read_variable(self, name: str) -> str:
        """Read a variable, the lower-case spelling first, like curl and Go."""
        return self.env.get(name.lower()) or self.env.get(name, "")


def load_mapping(text: str, *, name: str, source: str) -> dict[str, Any]:
    """Parse YAML (or JSON) text that must hold a mapping. Raises InputError.

    ``name`` is the file's name, "" for inline text.
    """
    try:
        value = parse_yaml(text)
    except MalformedDocument as error:
        raise InputError(describe_problem(error, name), source=source) from error
    if not isinstance(value, dict):
        what = repr(name) if name else "value"
        raise InputError(f"{what} must be a mapping", source=source, fix="write names and values, 'name: value'")
    return value


def describe_problem(error: MalformedDocument, name: str) -> str:
    """Describe an error in a YAML text in one line with its position."""
    numbers = (error.line, error.column) if error.column else (error.line,)
    place = ":".join(map(str, numbers)) if error.line else ""
    where = ":".join(part for part in (name, place) if part)
    return f"{where}: {error.problem}" if where else f"no YAML: {error.problem}"


def _check_certificates(text: str, name: str, source: str) -> None:
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(
            f"{name} contains no PEM certificate", source=source, fix="name files with '-----BEGIN CERTIFICATE-----'"
        ) from error
