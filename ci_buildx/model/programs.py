"""Finds and runs programs: from the runner's PATH, never from the checkout, which is untrusted."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ci_buildx.model import debug

if TYPE_CHECKING:
    import subprocess

_LOG = debug.get_log("model")
_WORKSPACES = {
    "KUBE_BUILDER_CHECKOUT": "",
    "GITHUB_WORKSPACE": "",
    "CI_PROJECT_DIR": "",
    "WORKSPACE": "JENKINS_URL",
    "BUILDKITE_BUILD_CHECKOUT_PATH": "",
    "BUILD_SOURCESDIRECTORY": "",
    "CIRCLE_WORKING_DIRECTORY": "",
    "BITBUCKET_CLONE_DIR": "",
}
"""Variables of CI systems that name the checkout; a variable with a common name counts only beside another one."""
MOST_OUTPUT = 1 << 20
"""Limit for the output of a program, in bytes."""
_COMPLAINTS = 16 << 10
_LAST_WORDS = 1.0
"""Seconds to read standard error after the program has ended: a child of it may keep the pipe open."""
_INPUTS = ("INPUT_", "KUBE_BUILDER_")
_LOADERS = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "NODE_OPTIONS", "NODE_PATH", "PERL5LIB"),
    *("PERL5OPT", "RUBYLIB", "RUBYOPT", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV"),
    *("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "GCONV_PATH"),
)
"""Variables that make an interpreter or the dynamic linker load other code before the program's own."""

_OPTIONS = ("NODE_OPTIONS", "PERL5OPT", "RUBYOPT", "ENV")
"""Variables that also hold words: options, or the name of an environment such as ``production``."""


def find_program(name: str, env: Mapping[str, str], *, avoid: tuple[Path, ...] = ()) -> str | None:
    """Return the path of the program ``name``, or None if no folder of :func:`make_safe_path` has it.

    A ``name`` with a slash is not looked up: a relative path is never returned. A program inside of a workspace that
    the CI system names, or of ``avoid``, does not count, nor does a link to one.
    """
    roots = (*find_named_workspaces(env), *map(_resolve, avoid))
    folders = [name] if "/" in name else [f"{folder}/{name}" for folder in list_safe_folders(env, avoid=avoid)]
    return next(
        (path for path in folders if path.startswith("/") and _is_executable(path) and not is_below(path, roots)), None
    )


def make_safe_path(env: Mapping[str, str], *, avoid: tuple[Path, ...] = ()) -> str:
    """Return a value for PATH without the folders that a checkout controls."""
    return os.pathsep.join(list_safe_folders(env, avoid=avoid))


def list_safe_folders(env: Mapping[str, str], *, avoid: tuple[Path, ...] = ()) -> list[str]:
    """Return the folders of PATH that are absolute and outside of every workspace and of ``avoid``.

    An empty entry means the current directory, so it is dropped like a relative one.
    """
    roots = _list_roots(env, avoid)
    folders = env.get("PATH", os.defpath).split(os.pathsep)
    return [folder for folder in folders if folder.startswith("/") and not is_below(folder, roots)]


def is_outside(path: str, env: Mapping[str, str], *, avoid: tuple[Path, ...] = ()) -> bool:
    """Return whether ``path`` is absolute and outside of every workspace and of ``avoid``."""
    return path.startswith("/") and not is_below(path, _list_roots(env, avoid))


def find_escape(path: Path, env: Mapping[str, str]) -> Path | None:
    """Return where an absolute path leads if it is written as one in the CI job's workspace but links lead out of it.

    Returns None for all other paths. The author of the checkout chooses its links.
    """
    roots = find_named_workspaces(env)
    if not roots or "\0" in str(path):
        return None
    resolved = _resolve(path)
    if any(resolved.is_relative_to(root) for root in roots):
        return None
    above = (_resolve(parent) for parent in Path(os.path.normpath(path)).parents)
    return resolved if any(parent.is_relative_to(root) for parent in above for root in roots) else None


def make_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program of the runner, without kube-builder's inputs or code of a workspace.

    PATH is that of :func:`make_safe_path`. A variable that makes an interpreter or the dynamic linker load code is kept
    unless one of its paths is relative or in a workspace.
    """
    roots = find_workspaces(env)
    made = {name: value for name, value in env.items() if not name.startswith(_INPUTS)}
    for name in _LOADERS:
        parts = re.split(r"[:=\s]+", made.get(name, "/"))
        # In a list of folders each word is a path.
        paths = [part for part in parts if "/" in part or part == "."] if name in _OPTIONS else parts
        if any(not part.startswith("/") or is_below(part, roots) for part in paths):
            del made[name]
    return {**made, "PATH": make_safe_path(env)}


class TooMuchOutput(Exception):
    """A program printed more bytes than allowed."""


def run_program(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    given: bytes = b"",
    timeout: float,
    interactive: bool = False,
) -> tuple[int, bytes, bytes]:
    """Run a program in ``/`` and return its exit code, its output and the beginning of its standard error.

    ``given`` is its standard input. An ``interactive`` program inherits standard input and standard error. Raises
    OSError if it cannot be run, TimeoutError after ``timeout`` seconds and TooMuchOutput if it prints more than
    :data:`MOST_OUTPUT` bytes. On return the program and its child processes have ended.
    """
    began = time.monotonic()
    try:
        status, output, complaints = _run(command, env, given, timeout, interactive)
    except (OSError, TooMuchOutput) as failure:
        _LOG.debug("program %s: %s after %.3f s", command[0], type(failure).__name__, time.monotonic() - began)
        raise
    _LOG.debug("program %s: exit code %s after %.3f s", command[0], status, time.monotonic() - began)
    return status, output, complaints


def _run(
    command: Sequence[str], env: Mapping[str, str], given: bytes, timeout: float, interactive: bool
) -> tuple[int, bytes, bytes]:
    import subprocess

    pipe = None if interactive else subprocess.PIPE
    with subprocess.Popen(
        list(command),
        stdin=pipe,
        stdout=subprocess.PIPE,
        stderr=pipe,
        env=dict(env),
        cwd="/",
        start_new_session=not interactive,
    ) as process:

        def kill() -> None:
            with suppress(ProcessLookupError):
                process.kill() if interactive else os.killpg(process.pid, signal.SIGKILL)

        output, complaints = collect_output(process, limit=MOST_OUTPUT, timeout=timeout, kill=kill, given=given)
        return process.returncode, output, complaints


def collect_output(
    process: subprocess.Popen[bytes], *, limit: int, timeout: float, kill: Callable[[], None], given: bytes = b""
) -> tuple[bytes, bytes]:
    """Return a running program's output and the beginning of its standard error; ``given`` is its standard input.

    Standard output must be a pipe. Raises TooMuchOutput after ``limit`` bytes and TimeoutError after ``timeout``
    seconds; ``kill`` then ends the program. On return the program has ended and its pipes are closed.
    """
    import threading

    expired = threading.Event()
    complaints: list[bytes] = []

    def expire() -> None:
        expired.set()
        kill()

    reader = None
    if process.stderr is not None:
        reader = threading.Thread(target=_read_beginning, args=(process.stderr, complaints), daemon=True)
        reader.start()
    timer = threading.Timer(timeout, expire)
    timer.start()
    try:
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # The program need not read its input.
                process.stdin.write(given)
                process.stdin.close()
        assert process.stdout is not None
        output = process.stdout.read(limit + 1)
        if len(output) > limit:
            raise TooMuchOutput
        process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            kill()
            process.wait()
        if reader is not None:
            reader.join(_LAST_WORDS)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if expired.is_set():
        raise TimeoutError
    return output, b"".join(complaints)


def _read_beginning(stream: IO[bytes], into: list[bytes]) -> None:
    """Keep the beginning of a stream and drain the rest, so that the program does not block."""
    kept = 0
    with suppress(OSError, ValueError):
        while piece := os.read(stream.fileno(), _COMPLAINTS):
            if kept < _COMPLAINTS:
                into.append(piece)
                kept += len(piece)


def find_named_workspaces(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the workspaces that the CI system's variables name."""
    named = (env.get(name, "") for name, sign in _WORKSPACES.items() if not sign or env.get(sign))
    found = (_resolve(os.path.expanduser(path)) for path in named if path.startswith(("/", "~")))  # noqa: PTH111
    return tuple(path for path in found if path != Path("/"))


def find_checkout(folder: Path) -> Path | None:
    """Return the nearest folder at or above ``folder`` that has a ``.git``: a folder, or a file in worktrees."""
    resolved = folder.resolve()
    return next((parent for parent in (resolved, *resolved.parents) if (parent / ".git").exists()), None)


def find_workspaces(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders that hold untrusted files.

    These are the workspace that the CI system names and the checkout that contains the current directory. A checkout
    that contains the home folder belongs to the user and is not included.
    """
    named = [*find_named_workspaces(env)]
    home = Path(env.get("HOME") or "/").resolve()
    try:
        here = Path.cwd().resolve()
    except OSError:  # The current directory has been deleted.
        return tuple(named)
    checkout = find_checkout(here)
    if checkout is not None and not home.is_relative_to(checkout):
        named.append(checkout)
    return tuple(path for path in dict.fromkeys(named) if path != Path("/"))


def _list_roots(env: Mapping[str, str], avoid: tuple[Path, ...]) -> tuple[Path, ...]:
    return (*find_workspaces(env), *(path.resolve() for path in avoid))


def is_below(path: str, roots: Iterable[Path]) -> bool:
    """Return whether ``path`` is one of the resolved ``roots`` or below one."""
    # Check the path as written and resolved: a link outside may lead in, and untrusted code may change a link inside.
    written, resolved = Path(os.path.normpath(path)), _resolve(path)
    return any(written.is_relative_to(root) or resolved.is_relative_to(root) for root in roots)


def _resolve(path: str | Path) -> Path:
    """Return the path behind all links; ``Path.resolve`` raises RuntimeError for links in a circle."""
    return Path(os.path.realpath(path))


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)  # noqa: PTH113 - pathlib raises for odd names
