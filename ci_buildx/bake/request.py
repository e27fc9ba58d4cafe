"""What a ``bake`` command asks for, and the targets that result from it."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ci_buildx.bake.definitions import (
    DEFAULT_FILES,
    LARGEST,
    DefinitionContext,
    DefinitionFile,
    LoadedDefinition,
    load_definition,
    name_files,
)
from ci_buildx.bake.entitlements import ANY, is_checked
from ci_buildx.bake.entries import parse_policy
from ci_buildx.bake.limits import run_bounded
from ci_buildx.bake.overrides import parse_overrides
from ci_buildx.bake.paths import CWD, show_context
from ci_buildx.bake.resolution import ResolvedTargets, resolve_targets
from ci_buildx.bake.targets import DEFAULT, BakeTarget
from ci_buildx.errors import InputError
from ci_buildx.hcl.types.json_values import dump_json
from ci_buildx.model import masker
from ci_buildx.model.plaintext import MASK
from ci_buildx.model.record import dataclass, field, replace
from ci_buildx.progress.step import escape_controls
from ci_buildx.settings.calls import parse_call
from ci_buildx.settings.contexts import is_remote
from ci_buildx.settings.platforms import parse_platforms
from ci_buildx.settings.syntax import require_boolean

_EPOCH = "SOURCE_DATE_EPOCH"
_STDIN = "-"
_NAMED = ("args", "labels")
_FILE = "--file"


@dataclass(frozen=True, slots=True, kw_only=True)
class BakeRequest:
    """The arguments of one command.

    ``remote`` is the URL of a definition elsewhere, "" for local files; ``command_context`` is what definitions see as
    ``BAKE_CMD_CONTEXT``. ``files`` are names as typed. Without ``enforced`` policies, all targets' are disabled.
    """

    targets: tuple[str, ...] = (DEFAULT,)
    remote: str = ""
    command_context: str = CWD
    files: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    enforced: bool = True

    @property
    def local_files(self) -> tuple[str, ...] | None:
        """The names of files on this machine; none mean the default ones. None if there is no local file."""
        if not self.remote:
            return tuple(name.removeprefix(CWD) for name in self.files)
        return tuple(name.removeprefix(CWD) for name in self.files if name.startswith(CWD)) or None

    @property
    def remote_files(self) -> tuple[str, ...]:
        """The names of files in a repository."""
        return tuple(name for name in self.files if not name.startswith(CWD))


def split_arguments(arguments: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """Split positional arguments into the definition's URL, the command's context and the targets."""
    rest = list(arguments)
    remote = rest.pop(0) if rest and is_remote(rest[0]) else ""
    context = rest.pop(0) if remote and rest and is_remote(rest[0]) else CWD
    return remote, context, tuple(rest) or (DEFAULT,)


def make_attestation_override(kind: str, text: str) -> str:
    """Return the override for ``--sbom`` or ``--provenance``: a boolean, or attributes. Raises InputError."""
    try:
        disabled = not require_boolean(text, source=f"--{kind}")
    except InputError:
        return f"*.attest=type={kind},{text}"
    return f"*.attest=type={kind},disabled={str(disabled).lower()}"


def make_call_overrides(text: str, *, source: str) -> list[str]:
    """Return the override for ``--call``; none for a build. Raises InputError."""
    call = parse_call(text, source=source)
    return [] if call is None else [f"*.call={call.method}"]


def make_policy_overrides(texts: Sequence[str]) -> tuple[list[str], bool]:
    """Return the overrides for ``--policy``, and whether policies are enforced. Raises InputError."""
    source = "--policy"
    found = []
    for text in texts:
        try:
            fields = dict(parse_policy(text)[0].fields)
        except ValueError as error:
            raise InputError(str(error), source=source) from None
        if "filename" in fields:
            message = "--policy does not accept filename; define policy files in the bake definition"
            raise InputError(message, source=source)
        if _is_on(fields, "reset"):
            message = "--policy does not accept reset; define policy composition in the bake definition"
            raise InputError(message, source=source)
        if _is_on(fields, "disabled"):
            if "strict" in fields or "log-level" in fields or len(texts) > 1:
                raise InputError("disabled policy cannot be combined with other policy flags", source=source)
            return [], False
        found.append(f"*.policy+={text}")
    return found, True


def _is_on(fields: Mapping[str, str], name: str) -> bool:
    return name in fields and require_boolean(fields[name], source=f"--policy {name}")


Report = Callable[[str, int], None]
"""Called with what was read and its size in bytes."""


def read_local_files(names: Sequence[str], *, cwd: Path, stdin: TextIO | None, report: Report) -> list[DefinitionFile]:
    """Read definitions; without names those of the default files that exist. Raises InputError."""
    found = []
    for name in names or DEFAULT_FILES:
        path = cwd / name
        if name == _STDIN:
            text = stdin.read(LARGEST + 1) if stdin is not None else ""
            report("reading from stdin", len(text))
        elif not names and not path.exists():
            continue
        else:
            text = _read_file(path, name)
            report(f"reading {name}", len(text.encode(errors="surrogateescape")))
        if len(text) > LARGEST:
            raise InputError(f"{name} has more than {LARGEST} bytes", source=_FILE)
        found.append(DefinitionFile(name=name, text=text))
    return found


def refuse_nothing() -> NoReturn:
    """Raise InputError: no file was found."""
    raise InputError("couldn't find a bake definition", fix=f"add docker-bake.hcl, or name a file with {_FILE}")


def _read_file(path: Path, name: str) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(LARGEST + 1).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text: {error.reason}", source=_FILE) from None
    except OSError as error:
        raise InputError(f"open {name}: {(error.strerror or str(error)).lower()}", source=_FILE) from None


def load_files(
    files: Sequence[DefinitionFile],
    request: BakeRequest,
    *,
    env: Mapping[str, str],
    cwd: Path,
    readable: Sequence[str] = (),
) -> LoadedDefinition:
    """Evaluate the definitions of a request. Raises InputError with file, line and column.

    ``readable`` are paths outside of the working directory that compose files may read. The work is bounded.
    """
    readable = readable if is_checked(env, remote=bool(request.remote)) else (ANY,)
    builtins = {"BAKE_CMD_CONTEXT": request.command_context, "BAKE_LOCAL_PLATFORM": find_local_platform()}
    context = DefinitionContext(builtins=builtins, given=request.variables, env=env, cwd=cwd, readable=readable)
    return run_bounded(lambda: load_definition(files, context), source=name_files(files))


def find_local_platform() -> str:
    """Return this machine's platform, as definitions see it."""
    system, machine = platform.system().lower(), platform.machine().lower()
    try:
        return str(parse_platforms([f"{system}/{machine}"], source="BAKE_LOCAL_PLATFORM")[0])
    except InputError:
        return f"{system}/{machine}"


def select_targets(loaded: LoadedDefinition, request: BakeRequest, env: Mapping[str, str]) -> ResolvedTargets:
    """Return the requested targets, with overrides. The work is bounded. Raises InputError."""
    return run_bounded(lambda: _select_targets(loaded, request, env), source=loaded.source)


def _select_targets(loaded: LoadedDefinition, request: BakeRequest, env: Mapping[str, str]) -> ResolvedTargets:
    overrides = parse_overrides(request.overrides, loaded.definition, env)
    resolved = resolve_targets(loaded.definition, request.targets, overrides)
    targets = dict(resolved.targets)
    epoch = env.get(_EPOCH, "")
    for name, target in targets.items():
        changed = target
        if not request.enforced:
            changed = changed.set("policy", parse_policy("disabled=true"))
        if epoch and _EPOCH not in changed.get("args", {}):
            changed = changed.set("args", {**changed.get("args", {}), _EPOCH: epoch})
        targets[name] = changed
    return replace(resolved, targets=targets)


def check_files(resolved: ResolvedTargets, env: Mapping[str, str], cwd: Path) -> None:
    """Raise InputError for secrets and keys whose files do not exist: a target that is printed can also be built."""
    for target in resolved.targets.values():
        paths = [path for one in target.get("ssh", ()) for path in one.paths]
        paths += [one.src or ("" if one.env or one.id in env else one.id) for one in target.get("secret", ())]
        for path in filter(None, paths):
            if not (cwd / path).exists():
                raise InputError(f"failed to stat {path}: no such file or directory", source=f"target {target.name}")


def describe_targets(
    resolved: ResolvedTargets, remote: str, *, hidden: Sequence[str] = (), written: Sequence[str] = ()
) -> dict[str, Any]:
    """Return groups and targets as ``--print`` shows them.

    Masked are ``hidden`` texts, arguments and labels with a secret's name, and credentials of caches and outputs.
    A credential is shown if one of the texts ``written`` has it in clear: variables and the environment add nothing.
    """
    named = dict.fromkeys(text for one in resolved.targets.values() for text in _list_secrets(one))
    hidden = masker.list_spellings((*hidden, *named))
    groups = {name: one.to_json() for name, one in sorted(resolved.groups.items())}
    targets = {}
    for name, one in sorted(resolved.targets.items()):
        shown = one if one.get("context") is None else one.set("context", show_context(one.get("context"), remote))
        targets[name] = masker.mask_value(_mask_fields(shown.to_json(), written), hidden)
    return {**({"group": groups} if groups else {}), "target": targets}


def _list_secrets(target: BakeTarget) -> Iterator[str]:
    """Yield the secrets that arguments and labels of a target hold."""
    for name in _NAMED:
        for key, text in target.get(name, {}).items():
            yield from masker.find_pair_secrets(key, text)


def _mask_fields(target: dict[str, Any], written: Sequence[str]) -> dict[str, Any]:
    """Return a target without arguments and labels with a secret's name, and without credentials of its entries."""
    shown = dict(target)
    for name in _NAMED:
        if name in shown:
            found = shown[name].items()
            shown[name] = {key: MASK if masker.is_secret_name(key) else text for key, text in found}
    for name in ("cache-from", "cache-to", "output"):
        if name in shown:
            shown[name] = [_mask_entry(one, written) for one in shown[name]]
    return shown


def _mask_entry(entry: dict[str, Any], written: Sequence[str]) -> dict[str, Any]:
    def is_shown(key: str, value: Any) -> bool:
        return not masker.is_secret_attribute(key) or any(is_written(key, str(value), text) for text in written)

    return {key: text if is_shown(key, text) else MASK for key, text in entry.items()}


def is_written(key: str, value: str, text: str) -> bool:
    """Return whether a definition's ``text`` has this value of a field in clear: ``key=value`` or ``key: value``.

    The value alone does not count: a short one may be anywhere, and be the value of a variable here.
    """
    if not value or value not in text:
        return False
    field_text = rf"(?<![\w-])[\"']?(?i:{re.escape(key)})[\"']?\s*[=:]\s*[\"']?{re.escape(value)}(?=[,\"'\s\]}}]|$)"
    return re.search(field_text, text) is not None


def print_targets(
    resolved: ResolvedTargets, remote: str, *, hidden: Sequence[str] = (), written: Sequence[str] = ()
) -> str:
    """Return the text of ``--print``; see :func:`describe_targets`."""
    text = dump_json(describe_targets(resolved, remote, hidden=hidden, written=written), indent=2)
    return "\n".join(map(escape_controls, text.split("\n"))) + "\n"
