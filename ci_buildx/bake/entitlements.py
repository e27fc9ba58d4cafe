"""What a definition may use: files outside of the working directory, SSH agents, the host's network, privileges.

A definition may come from elsewhere, so what it asks for must be granted with ``--allow``, or on a terminal. Rules and
texts are those of docker buildx 0.38.2 (``bake/entitlements.go``).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ci_buildx.bake.entries import split_csv
from ci_buildx.bake.overrides import AllowedPaths
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.attributes import LOCAL_DELETE
from ci_buildx.settings.syntax import require_boolean

if TYPE_CHECKING:
    from ci_buildx.bake.inputs import TargetInputs

FLAG = "--allow"
CHECKED = "BUILDX_BAKE_ENTITLEMENTS_FS"
"""Variable that turns the checks of files and SSH agents off or on."""
REMOTE_FILES = "BAKE_ALLOW_REMOTE_FS_ACCESS"
_NETWORK, _INSECURE, _DEVICE, _SSH = "network.host", "security.insecure", "device", "ssh"
_PATHS = {"fs.read": ("read",), "fs.write": ("write",), "fs": ("read", "write")}
_IGNORED = ("image", "image.push", "image.load")
ANY = "*"
_MESSAGES = {
    _NETWORK: "Running build containers that can access host network",
    _INSECURE: "Running privileged containers that can make system changes",
    _DEVICE: "Access to CDI devices",
    _SSH: "Forwarding default SSH agent socket",
    LOCAL_DELETE: "Deleting stale files from local output destinations",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlements:
    """Granted or missing entitlements. ``kinds`` have no paths; ``read`` and ``write`` are paths."""

    kinds: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivilegeRequest:
    """What targets ask for and what is not granted: lines for people, and flags that grant it.

    ``files`` are those about files and SSH agents, whose check can be turned off.
    """

    lines: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    file_lines: tuple[str, ...] = ()
    file_flags: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether everything is granted."""
        return not (self.lines or self.file_lines)

    @property
    def all_flags(self) -> str:
        """All flags as one text, which a shell splits into these flags."""
        return shlex.join(f"{FLAG}={flag}" for flag in (*self.flags, *self.file_flags))


def parse_entitlements(texts: Iterable[str]) -> Entitlements:
    """Parse ``--allow``. Raises InputError."""
    kinds: list[str] = []
    paths: dict[str, list[str]] = {"read": [], "write": []}
    for text in texts:
        name, equals, value = text.partition("=")
        if text in (_NETWORK, _INSECURE, _SSH, LOCAL_DELETE):
            kinds.append(text)
        elif name == LOCAL_DELETE:
            raise InputError(f"{LOCAL_DELETE} does not accept a value", source=FLAG)
        elif name == _DEVICE:
            kinds.append(f"{_DEVICE}={_read_device(value)}" if equals and value else _DEVICE)
        elif name in _PATHS:
            for kind in _PATHS[name]:
                paths[kind].append(value)
        elif name not in _IGNORED:
            known = ", ".join((*_PATHS, _NETWORK, _INSECURE, _DEVICE, _SSH, LOCAL_DELETE))
            raise InputError(f'unknown entitlement key "{name}"', source=FLAG, fix=f"known: {known}")
    return Entitlements(kinds=tuple(kinds), read=tuple(paths["read"]), write=tuple(paths["write"]))


def _read_device(text: str) -> str:
    try:
        return split_csv(text)[0]
    except (ValueError, IndexError) as error:
        raise InputError(f'failed to parse device entitlement "{text}": {error}', source=FLAG) from None


def grant_paths(entitlements: Entitlements, allowed: AllowedPaths, cwd: Path) -> Entitlements:
    """Return what is granted with the working directory and the paths that overrides name."""
    return Entitlements(
        kinds=(*entitlements.kinds, *allowed.kinds),
        read=(*entitlements.read, *allowed.read, str(cwd)),
        write=(*entitlements.write, *allowed.write, str(cwd)),
    )


def find_missing(targets: Iterable[TargetInputs], granted: Entitlements, cwd: Path) -> Entitlements:
    """Return what targets ask for and what is not granted. Raises InputError for paths that cannot be looked up."""
    kinds: dict[str, None] = {}
    read: dict[str, None] = {}
    write: dict[str, None] = {}
    for target in targets:
        for name in target.entitlements:
            if name.partition("=")[0] == _DEVICE:
                device = _read_device(name.partition("=")[2]) if "=" in name else ""
                wanted = f"{_DEVICE}={device}" if device else _DEVICE
                if device or _DEVICE not in granted.kinds:
                    kinds[wanted] = None
            elif name in (_NETWORK, _INSECURE) and name not in granted.kinds:
                kinds[name] = None
        if target.uses_agent and _SSH not in granted.kinds:
            kinds[_SSH] = None
        if target.deletes and LOCAL_DELETE not in granted.kinds:
            kinds[LOCAL_DELETE] = None
        read |= dict.fromkeys(target.read_paths)
        # A build takes an existing folder for one, whatever it looks like.
        read |= dict.fromkeys(path for path in target.url_paths if os.path.isdir(cwd / path))  # noqa: PTH112
        write |= dict.fromkeys(target.written_paths)
    return Entitlements(
        kinds=tuple(kinds), read=_find_outside(granted.read, read, cwd), write=_find_outside(granted.write, write, cwd)
    )


def is_granted(path: Path, granted: Sequence[str], cwd: Path) -> bool:
    """Return whether a path is in the working directory or below a granted one, links resolved. Raises InputError."""
    return not _find_outside((*granted, str(cwd)), [str(path)], cwd)


def _find_outside(granted: Sequence[str], paths: Iterable[str], cwd: Path) -> tuple[str, ...]:
    """Return the paths, with links resolved, that are below none of those granted; of nested ones, the outer."""
    if ANY in granted:
        return ()
    roots = [resolve_path(one, cwd) for one in granted]
    resolved = sorted({resolve_existing(one, cwd) for one in paths}, key=lambda one: (len(str(one)), one))
    outer: list[Path] = []
    for path in resolved:
        if not any(path.is_relative_to(one) for one in outer):
            outer.append(path)
    return tuple(sorted(str(path) for path in outer if not any(path.is_relative_to(root) for root in roots)))


def resolve_path(text: str, cwd: Path) -> Path:
    """Return an absolute path with its links resolved; what does not exist stays as it is. Raises InputError."""
    try:
        return (cwd / text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"failed to evaluate path {text!r}: {error}", source=FLAG) from None


def resolve_existing(text: str, cwd: Path) -> Path:
    """Return the part of a path that exists, with its links resolved. Raises InputError."""
    path = resolve_path(text, cwd)
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def make_request(missing: Entitlements, cwd: Path) -> PrivilegeRequest:
    """Return what is missing, as lines and flags."""
    plain = tuple(kind for kind in missing.kinds if kind != _SSH)
    names = {kind: _MESSAGES.get(kind) or f"Access to device {_show(kind.partition('=')[2])}" for kind in plain}
    lines = tuple(f" - {text}" for text in names.values())
    both = sorted(set(missing.read) & set(missing.write))
    file_lines = [f" - {_MESSAGES[_SSH]}"] if _SSH in missing.kinds else []
    file_flags = [_SSH] if _SSH in missing.kinds else []
    for paths, kind, label in (
        (both, "fs", "Read and write"),
        (sorted(set(missing.read) - set(both)), "fs.read", "Read"),
        (sorted(set(missing.write) - set(both)), "fs.write", "Write"),
    ):
        for path in paths:
            shown = show_path(path, cwd)
            file_lines.append(f" - {label} access to path {_show(shown)}")
            file_flags.append(f"{kind}={shown}")
    return PrivilegeRequest(lines=lines, flags=plain, file_lines=tuple(file_lines), file_flags=tuple(file_flags))


def _show(text: str) -> str:
    """Return the text of a definition on one line: it must not change the question that it is a part of."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def show_path(path: str, cwd: Path) -> str:
    """Return a path relative to the working directory if it is at most one folder above."""
    relative = os.path.relpath(path, cwd.resolve())
    return path if relative.startswith(f"..{os.sep}..") else relative


def drop_unchecked(request: PrivilegeRequest, env: Mapping[str, str], *, remote: bool) -> PrivilegeRequest:
    """Return the request without files and agents if the environment turns that check off. Raises InputError."""
    return request if is_checked(env, remote=remote) else replace(request, file_lines=(), file_flags=())


def is_checked(env: Mapping[str, str], *, remote: bool) -> bool:
    """Return whether the use of files and agents must be granted. Raises InputError."""
    checked = True
    if remote and env.get(REMOTE_FILES):
        checked = not require_boolean(env[REMOTE_FILES], source=REMOTE_FILES)
    if env.get(CHECKED):
        checked = require_boolean(env[CHECKED], source=CHECKED)
    return checked


def describe_request(request: PrivilegeRequest, command: Sequence[str], *, interactive: bool, hint: bool) -> str:
    """Return the question for people: what is asked for, and how to grant it; ``command`` are the arguments given."""
    flags = _show(request.all_flags)
    lines = ["Your build is requesting privileges for following possibly insecure capabilities:", ""]
    lines += [*request.lines, *request.file_lines, ""]
    if interactive:
        lines.append(f'In order to not see this message in the future pass "{flags}" to grant requested privileges.')
    else:
        lines.append(f'Pass "{flags}" to grant requested privileges.')
    rest = shlex.join(command)
    lines += ["", "Your full command with requested privileges:", "", f"kube-builder bake {flags} {rest}".rstrip(), ""]
    if request.file_lines and hint:
        lines += [f"To disable filesystem entitlements checks, you can set {CHECKED}=0 .", ""]
    return "\n".join(lines) + "\n"


def refuse(request: PrivilegeRequest) -> InputError:
    """Return the error for privileges that were not granted."""
    fix = f'pass "{request.all_flags}" to grant requested privileges'
    return InputError("additional privileges requested", fix=fix, known=True)
