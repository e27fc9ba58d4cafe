"""Settings of RUN steps (network, hosts, limits, entitlements), and the check of folders that a build clears.

Syntax and checks are those of buildx 0.38.2 (``build/utils.go``, ``util/buildflags/entitlements.go``), docker/go-units
v0.5.0 (``ulimit.go``, ``size.go``) and BuildKit v0.34.2 (``util/entitlements``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ci_buildx.errors import InputError
from ci_buildx.settings.attributes import LOCAL_DELETE, STDOUT
from ci_buildx.settings.names import suggest_name
from ci_buildx.settings.syntax import compute_bytes, is_whole_number, show_start
from ci_buildx.settings.values import BuildSettings, ImageLayout

NETWORK_HOST = "network.host"
NETWORKS = ("default", "host", "none")
ENTITLEMENTS = (NETWORK_HOST, "security.insecure", "device", LOCAL_DELETE)
ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"),
    *("rttime", "sigpending", "stack"),
)
RESOURCES = {
    "memory": "memory",
    "memory-swap": "memswap",
    "cpu-shares": "cpushares",
    "cpu-period": "cpuperiod",
    "cpu-quota": "cpuquota",
    "cpuset-cpus": "cpusetcpus",
    "cpuset-mems": "cpusetmems",
}
"""Names as typed, mapped to those of BuildKit's frontend (``frontend/dockerui/config.go``)."""

_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:b|(?P<unit>[kmgtp])(?:i?b)?)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_network(text: str, *, source: str) -> str:
    """Parse a network mode: ``host``, ``none``, or "" for ``default``. Raises InputError."""
    if text and text not in NETWORKS:
        raise InputError(f"unknown network {text!r}", source=source, fix=suggest_name(text, NETWORKS))
    return "" if text == "default" else text


def parse_hosts(texts: Iterable[str], *, source: str) -> tuple[str, ...]:
    """Convert ``name:address`` and ``name=address`` to ``name=address``; an IPv6 address may have brackets.

    Raises InputError for an invalid address and for ``host-gateway``.
    """
    hosts = []
    for text in (part.strip() for given in texts for part in given.split(",")):
        name, equals, address = text.partition("=")
        if not equals:
            name, _, address = text.partition(":")
        hosts.append(f"{name}={_parse_address(name, address, source)}")
    return tuple(hosts)


def _parse_address(name: str, text: str, source: str) -> str:
    import ipaddress

    if text == "host-gateway":
        raise InputError(f"host {name!r}: host-gateway is not supported on Kubernetes", source=source)
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        # Go does not accept a zone (fe80::1%eth0) in an address.
        if not name or "%" in address:
            raise ValueError
        ipaddress.ip_address(address)
    except ValueError as error:
        raise InputError(
            f"host {name!r} has an invalid address {text!r}", source=source, fix="write host:ip"
        ) from error
    return address


def parse_size(text: str, *, source: str) -> int:
    """Parse a size in bytes: a number with optional ``b``, ``k``, ``m``, ``g``, ``t`` or ``p`` (powers of 1024).

    An empty text is 0. Raises InputError.
    """
    if not text:
        return 0
    match = _SIZE.fullmatch(text)
    if not match:
        raise InputError(f"{text!r} is not a size", source=source, fix="write it like 64m or 2g")
    return compute_bytes(match["number"], _POWERS[(match["unit"] or "").lower()], text=text, source=source)


def parse_ulimits(texts: Iterable[str], *, source: str) -> tuple[str, ...]:
    """Convert ``name=soft[:hard]`` to ``name=soft:hard``, sorted; the last value of a name wins.

    -1 is unlimited. Raises InputError.
    """
    limits = {}
    for text in texts:
        name, _, values = text.partition("=")
        if name not in ULIMITS:
            raise InputError(f"unknown ulimit {name!r}", source=source, fix=suggest_name(name, ULIMITS))
        soft, _, hard = values.partition(":")
        limits[name] = f"{name}={_parse_limits(text, soft, hard or soft, source)}"
    return tuple(limits[name] for name in sorted(limits))


def _parse_limits(text: str, soft: str, hard: str, source: str) -> str:
    try:
        lower, upper = int(soft), int(hard)
    except ValueError as error:
        raise InputError(f"{text!r} is not name=soft[:hard]", source=source, fix="write it like nofile=1024") from error
    if upper != -1 and (lower == -1 or lower > upper):
        raise InputError(f"ulimit {text!r}: the soft limit exceeds the hard limit", source=source)
    return f"{lower}:{upper}"


def parse_entitlements(texts: Iterable[str], *, source: str) -> tuple[str, ...]:
    """Check entitlements; return them as typed, without duplicates. Raises InputError.

    Known are ``network.host``, ``security.insecure``, ``device[=NAME]`` and ``buildx.local.delete``.
    """
    for text in texts:
        name = text.partition("=")[0]
        if name == LOCAL_DELETE and text != name:
            raise InputError(f"{LOCAL_DELETE} does not accept a value", source=source, fix=f"write {LOCAL_DELETE}")
        if name not in ENTITLEMENTS or (text != name and name != "device"):
            raise InputError(f"unknown entitlement {text!r}", source=source, fix=suggest_name(text, ENTITLEMENTS))
    return tuple(dict.fromkeys(texts))


def parse_resources(texts: Iterable[str], *, source: str) -> tuple[tuple[str, str], ...]:
    """Parse limits of each step (``memory=512m``, ``cpu-quota=50000``, …); return them by BuildKit's names.

    Zero is unlimited. Raises InputError.
    """
    resources = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name not in RESOURCES:
            raise InputError(f"unknown resource {name!r}", source=source, fix=suggest_name(name, RESOURCES))
        resources[RESOURCES[name]] = _parse_resource(name, value, source)
    return tuple((name, value) for name, value in sorted(resources.items()) if value not in ("", "0"))


def _parse_resource(name: str, text: str, source: str) -> str:
    if name.startswith("cpuset") or (name == "memory-swap" and text == "-1"):
        return text
    if name.startswith("memory"):
        return str(parse_size(text, source=source))
    if text.startswith("-") or not is_whole_number(text):
        raise InputError(f"{name}={show_start(text)} is not a whole number", source=source)
    return str(int(text))


def check_cleared_folders(build: BuildSettings, cleared: Iterable[Path], *, may_delete: bool, source: str) -> None:
    """Raise InputError if a folder of ``cleared`` holds other results or sources of the build.

    ``may_delete`` allows clearing the sources. Symlinks are resolved.
    """
    written, sources = list(_list_written(build)), list(_list_sources(build))
    for folder in cleared:
        inside = folder.resolve()
        others = [
            path for path in written if path.is_relative_to(inside) or (path.is_dir() and inside.is_relative_to(path))
        ]
        if len(others) > 1:
            other = next((path for path in others if path != inside), inside)
            message = f"mode=delete in {inside} would delete the output in {other}"
            raise InputError(message, source=source, fix="choose another folder for one of them")
        if not may_delete:
            for path in sources:
                if path.is_relative_to(inside):
                    message = f"mode=delete in {inside} would delete {path}, which is an input of the build"
                    raise InputError(message, source=source, fix=f"name another folder, or add --allow={LOCAL_DELETE}")


def _list_written(build: BuildSettings) -> Iterator[Path]:
    places = [output.get("dest") for output in build.outputs]
    places += [cache.get("dest") for cache in build.cache_to if cache.type == "local"]
    return (Path(place).resolve() for place in places if place not in ("", STDOUT))


def _list_sources(build: BuildSettings) -> Iterator[Path]:
    named = (one.location.folder if isinstance(one.location, ImageLayout) else one.location for one in build.contexts)
    return (path.resolve() for path in (build.context, build.dockerfile, *named) if isinstance(path, Path))
