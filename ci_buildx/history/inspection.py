"""What ``history inspect`` shows of a record, with the fields and the layout of buildx 0.38.2.

Source: ``commands/history/inspect.go``.
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ci_buildx.gotemplate.kinds import (
    BOOLEAN,
    INTEGER,
    OCTETS,
    TEXT,
    TIME,
    GoValue,
    ListKind,
    PointerKind,
    make_struct,
)
from ci_buildx.history.attachments import RecordAttachment
from ci_buildx.history.records import CACHE_IMPORTS, LocalSource, PlacedRecord, strip_cache_imports
from ci_buildx.model import masker
from ci_buildx.model.plaintext import MASK
from ci_buildx.model.platform import parse_platform
from ci_buildx.model.record import dataclass

_TEXTS = ListKind(TEXT)


_make_kind = partial(make_struct, omits=True)
_PAIR = _make_kind("keyValueOutput", {"Name": TEXT, "Value": TEXT})
_PAIRS = ListKind(_PAIR)
_CONFIG = _make_kind(
    "configOutput",
    {
        "Network": TEXT,
        "ExtraHosts": _TEXTS,
        "Hostname": TEXT,
        "CgroupParent": TEXT,
        "ImageResolveMode": TEXT,
        "MultiPlatform": BOOLEAN,
        "NoCache": BOOLEAN,
        "NoCacheFilter": _TEXTS,
        "ShmSize": TEXT,
        "Ulimit": TEXT,
        "Memory": TEXT,
        "MemorySwap": TEXT,
        "CPUShares": TEXT,
        "CPUPeriod": TEXT,
        "CPUQuota": TEXT,
        "CPUSetCPUs": TEXT,
        "CPUSetMems": TEXT,
        "CacheMountNS": TEXT,
        "DockerfileCheckConfig": TEXT,
        "SourceDateEpoch": TEXT,
        "SandboxHostname": TEXT,
        "RestRaw": _PAIRS,
    },
)
_ERROR = _make_kind(
    "errorOutput",
    {"Code": INTEGER, "Message": TEXT, "Name": TEXT, "Logs": _TEXTS, "Sources": OCTETS, "Stack": OCTETS},
)
COUNTS = ("NumCompletedSteps", "NumTotalSteps", "NumCachedSteps")
INSPECTION = _make_kind(
    "inspectOutput",
    {
        "Name": TEXT,
        "Ref": TEXT,
        "Context": TEXT,
        "Dockerfile": TEXT,
        "VCSRepository": TEXT,
        "VCSRevision": TEXT,
        "Target": TEXT,
        "Platform": _TEXTS,
        "KeepGitDir": BOOLEAN,
        "NamedContexts": _PAIRS,
        "StartedAt": PointerKind(TIME),
        "CompletedAt": PointerKind(TIME),
        "Duration": INTEGER,
        "Status": TEXT,
        "Error": PointerKind(_ERROR),
        **dict.fromkeys(COUNTS, INTEGER),
        "BuildArgs": _PAIRS,
        "Labels": _PAIRS,
        "Config": _CONFIG,
        "Materials": ListKind(_make_kind("materialOutput", {"URI": TEXT, "Digests": _TEXTS})),
        "Attachments": ListKind(_make_kind("attachmentOutput", {"Digest": TEXT, "Platform": TEXT, "Type": TEXT})),
        "Errors": _TEXTS,
    },
    always=("Ref", *COUNTS, "Config"),
)
_CONFIG_ATTRIBUTES = {
    "force-network-mode": "Network",
    "hostname": "Hostname",
    "cgroup-parent": "CgroupParent",
    "image-resolve-mode": "ImageResolveMode",
    "shm-size": "ShmSize",
    "ulimit": "Ulimit",
    "memory": "Memory",
    "memswap": "MemorySwap",
    "cpushares": "CPUShares",
    "cpuperiod": "CPUPeriod",
    "cpuquota": "CPUQuota",
    "cpusetcpus": "CPUSetCPUs",
    "cpusetmems": "CPUSetMems",
    "build-arg:BUILDKIT_CACHE_MOUNT_NS": "CacheMountNS",
    "build-arg:BUILDKIT_DOCKERFILE_CHECK": "DockerfileCheckConfig",
    "build-arg:SOURCE_DATE_EPOCH": "SourceDateEpoch",
    "build-arg:SANDBOX_HOSTNAME": "SandboxHostname",
}
_SHOWN_ELSEWHERE = ("vcs:", "build-arg:", "label:", "context:", "attest:")
_NUMBERED = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureExtract:
    """The failed step's ``name`` and its last lines, and the marked lines of the Dockerfile."""

    name: str = ""
    logs: tuple[str, ...] = ()
    sources: str = ""


class RecordInspection:
    """A record with what its blobs say; ``show_time`` formats nanoseconds since the epoch as RFC 3339."""

    def __init__(
        self,
        placed: PlacedRecord,
        *,
        attachments: Sequence[RecordAttachment],
        materials: Sequence[Mapping[str, Any]],
        failure: FailureExtract | None,
        show_time: Callable[[int], str],
        cwd: str = "",
    ) -> None:
        self.placed = placed
        self._cwd = cwd
        self._hidden = list_secrets(placed)
        self._problems: list[str] = []
        self._attachments = attachments
        self._materials = materials
        self._failure = failure
        self._show_time = show_time

    def make_value(self) -> GoValue:
        """Return the value that templates see; values of build arguments with a secret's name are masked."""
        placed, record = self.placed, self.placed.record
        attrs = {key: self._mask(value) for key, value in record.frontend_attrs.items() if key != "frontend.caps"}
        if CACHE_IMPORTS in attrs:
            attrs[CACHE_IMPORTS] = strip_cache_imports(record.frontend_attrs[CACHE_IMPORTS])
        data: dict[str, Any] = {
            "Name": self._mask(placed.name),
            "Ref": placed.ref,
            "Context": attrs.pop("context", "") or placed.local.show_folder(self._cwd),
            "Dockerfile": _take_dockerfile(attrs, placed.local),
            "VCSRepository": attrs.get("vcs:source", ""),
            "VCSRevision": attrs.get("vcs:revision", ""),
            "Target": attrs.pop("target", ""),
        }
        data["Platform"] = self._take(attrs, "platform", _read_platforms) or []
        data["KeepGitDir"] = self._take(attrs, "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", _read_boolean) or False
        data["NamedContexts"] = _list_pairs(attrs, "context:")
        data |= self._describe_times()
        data |= dict(zip(COUNTS, (record.completed_steps, record.total_steps, record.cached_steps), strict=True))
        data["BuildArgs"] = _list_pairs(attrs, "build-arg:")
        data["Labels"] = _list_pairs(attrs, "label:")
        data["Config"] = self._take_config(attrs)
        data["Materials"] = list(self._materials)
        data["Attachments"] = [
            {"Digest": one.blob.digest, "Platform": one.platform, "Type": one.type} for one in self._attachments
        ]
        data["Errors"] = list(self._problems)
        return GoValue(INSPECTION, data)

    def _describe_times(self) -> dict[str, Any]:
        placed, error = self.placed, self.placed.record.error
        status = "running" if placed.completed is None else "completed"
        if error is not None:
            status = "canceled" if placed.is_canceled else "failed"
        return {
            "StartedAt": self._show_time(placed.created),
            "CompletedAt": None if placed.completed is None else self._show_time(placed.completed),
            "Duration": placed.duration or 0,
            "Status": status,
            "Error": self._describe_error(),
        }

    def _describe_error(self) -> dict[str, Any] | None:
        error, found = self.placed.record.error, self._failure
        if error is None and found is None:
            return None
        found = found or FailureExtract()
        return {
            "Code": error.code if error else 0,
            "Message": self._mask(error.message) if error else "",
            "Name": self._mask(found.name),
            "Logs": [self._mask(line) for line in found.logs],
            "Sources": base64.b64encode(self._mask(found.sources).encode()).decode() if found.sources else None,
        }

    def _take_config(self, attrs: dict[str, str]) -> dict[str, Any]:
        # As in buildx, the build arguments among these are listed with the others, too.
        data: dict[str, Any] = {shown: attrs.pop(name, "") for name, shown in _CONFIG_ATTRIBUTES.items()}
        for name in ("build-arg:BUILDKIT_MULTI_PLATFORM", "multi-platform"):
            data["MultiPlatform"] = self._take(attrs, name, _read_boolean) or data.get("MultiPlatform", False)
        filters = attrs.pop("no-cache", None)
        data["NoCache"] = filters == ""
        data["NoCacheFilter"] = filters.split(",") if filters else []
        data["ExtraHosts"] = self._take(attrs, "add-hosts", lambda text: next(csv.reader([text]), [])) or []
        data["RestRaw"] = [
            {"Name": name, "Value": attrs[name]} for name in sorted(attrs) if not name.startswith(_SHOWN_ELSEWHERE)
        ]
        return data

    def _take(self, attrs: dict[str, str], name: str, read: Callable[[str], Any]) -> Any:
        """Remove an attribute and return its value, None if it is missing; what cannot be read is reported."""
        text = attrs.pop(name, None)
        if text is None:
            return None
        try:
            return read(text)
        except (ValueError, csv.Error) as error:
            self._problems.append(f"failed to parse {text}: ({error})")
            return None

    def _mask(self, text: str) -> str:
        return masker.mask_secrets(text, self._hidden)


def list_secrets(placed: PlacedRecord) -> tuple[str, ...]:
    """Return the secrets in a record's build arguments and labels, in all spellings."""
    found: list[str] = []
    for key, value in placed.record.frontend_attrs.items():
        kind, _, name = key.partition(":")
        found += masker.find_pair_secrets(name, value) if kind in ("build-arg", "label") else ()
    return masker.list_spellings(found)


def _take_dockerfile(attrs: dict[str, str], local: LocalSource) -> str:
    name = attrs.pop("filename", "")
    if local.dockerfile:
        return local.show_dockerfile()
    folder = attrs.get("vcs:localdir:dockerfile", "")
    return f"{folder.rstrip('/')}/{name}" if name and folder not in ("", ".") else name


def _list_pairs(attrs: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
    found = {key.removeprefix(prefix): attrs[key] for key in sorted(attrs) if key.startswith(prefix)}
    return [{"Name": name, "Value": _hide(name, value)} for name, value in found.items()]


def _hide(name: str, value: str) -> str:
    """Mask a value whose name marks it as a secret, also one that is too short to be searched for."""
    return MASK if value and masker.is_secret_name(name) else value


def _read_boolean(text: str) -> bool:
    if text.lower() not in _NUMBERED:
        raise ValueError("invalid syntax")
    return _NUMBERED[text.lower()]


def _read_platforms(text: str) -> list[str]:
    return [str(parse_platform(one)) for one in text.split(",")]
