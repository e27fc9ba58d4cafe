"""Runs git in an untrusted checkout; all of kube-builder's git commands go through this module.

A repository's configuration, attributes and hooks can name programs that git starts, and a folder of the context can
itself be a repository. Therefore git runs with a minimal environment, refuses bare repositories that it merely finds,
and every setting that names a program is overridden on the command line, which takes precedence over all files.
Filters have names of the repository's choice; they are listed first and disabled one by one.

Sources: git's documentation of ``git-config`` (``safe.bareRepository``, ``core.fsmonitor``, ``filter.<driver>``),
``git(1)`` (``GIT_ALLOW_PROTOCOL``, ``GIT_NO_LAZY_FETCH``) and ``convert.c``: an empty filter command disables the
filter.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from ci_buildx.model import debug
from ci_buildx.model.programs import (
    TooMuchOutput,
    collect_output,
    find_checkout,
    find_program,
    is_outside,
    make_safe_path,
)

_LOG = debug.get_log("fsutil")
_CALLER = "SUDO_UID"
"""git trusts checkouts that are owned by the user who called sudo."""
_INHERITED = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", _CALLER)
"""Variables for the user's own configuration, which lists the checkouts that are safe despite a different owner."""
_FIXED = {
    "GIT_ALLOW_PROTOCOL": "",  # allow no protocol, so that missing objects are not fetched
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ATTR_NOSYSTEM": "1",
    "LC_ALL": "C",
}
_OVERRIDES = (
    "safe.bareRepository=explicit",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.askPass=",
    "core.pager=cat",
    "core.attributesFile=/dev/null",
    "core.alternateRefsCommand=false",
    "credential.helper=",
    "diff.external=",
    "diff.submodule=short",
    "status.submoduleSummary=false",
    "gpg.program=false",
    "gpg.ssh.program=false",
    "gpg.x509.program=false",
    "log.showSignature=false",
    "log.mailmap=false",
    "submodule.recurse=false",
)
_WITH_DIFF = ("diff", "log", "show")
_OF_FILES = ("diff", "status")
_WITHOUT_FILTERS = ("for-each-ref", "log", "ls-files", "remote", "rev-parse", "show")
"""Verbs that read no file of the working tree and so run no filters; the others need a listing of filters first."""
_NO_SUBMODULES = ("--ignore-submodules=dirty",)
"""Prevents git from scanning a submodule with its own settings; only the option overrides submodule.<name>.ignore."""
_NO_DRIVERS = ("--no-ext-diff", "--no-textconv")
"""Attributes select drivers under names of the repository's choice, so only these options disable them all."""
_NOTHING_FOUND = 1
"""Exit code of ``git config`` without filters, or outside of a repository."""
_FILTERS = r"^filter\..*\.(clean|smudge|process|required)$"


DEADLINE = 600.0
"""Timeout of a command in seconds: in a large checkout it may stat every file."""
MOST_OUTPUT = 256 << 20
"""Maximum output of a command in bytes: the names of two million files."""


class GitFailed(Exception):
    """git cannot be run or failed; the message is a single line."""


class Git:
    """git in ``folder``; every method raises GitFailed.

    ``env`` is the environment from which a few variables are passed on; it defaults to this process's own.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        given = os.environ if env is None else env
        self._folder = folder
        checkout = find_checkout(folder)
        self._avoid = (folder,) if checkout is None else (folder, checkout)
        self._env = {"PATH": make_safe_path(given, avoid=self._avoid), **_FIXED}
        self._env |= {name: given[name] for name in _INHERITED if _is_usable(name, given, self._avoid)}
        self._env |= _pass_safe_folders(given)
        self._program = find_program("git", given, avoid=self._avoid)
        self._filters: tuple[str, ...] | None = None

    def read(self, *arguments: str, timeout: float | None = None) -> bytes:
        """Run a command and return its whole output; ``timeout`` is in seconds."""
        process = self.start(*arguments)
        try:
            return self.finish(process, arguments[0], timeout=timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def read_text(self, *arguments: str, timeout: float | None = None) -> str:
        """Run a command and return its output as text, stripped of surrounding white space."""
        return self.read(*arguments, timeout=timeout).decode(errors="replace").strip()

    def read_partly(self, *arguments: str, timeout: float) -> str:
        """Return the output of a command even if it fails; "" if it cannot be run or times out."""
        try:
            with self.start(*arguments, stderr=subprocess.DEVNULL) as process:
                return _collect(process, arguments[0], timeout=timeout)[0].decode(errors="replace")
        except GitFailed:
            return ""

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start a command; the result is a context manager that waits for it to exit."""
        if self._program is None:
            raise GitFailed("cannot run git: it is not installed, or only inside the checkout")
        _refuse_bare_repository(self._folder)
        verb, *rest = arguments
        filters = () if verb in _WITHOUT_FILTERS else self._list_filters()
        overrides = [word for text in (*_OVERRIDES, *filters) for word in ("-c", text)]
        quiet: tuple[str, ...] = _NO_DRIVERS if verb in _WITH_DIFF else ()
        quiet += _NO_SUBMODULES if verb in _OF_FILES else ()
        options = ("--no-pager", "--no-optional-locks", "--literal-pathspecs", *overrides, verb, *quiet, *rest)
        command = (self._program, *options)
        return self._start(command, stderr=stderr)

    def finish(self, process: subprocess.Popen[bytes], verb: str, *, timeout: float | None = None) -> bytes:
        """Wait for the running command ``verb`` and return its whole output; ``timeout`` is in seconds."""
        began = time.monotonic()
        out, complaint = _collect(process, verb, timeout=DEADLINE if timeout is None else timeout)
        _LOG.debug("git %s: exit code %s after %.3f s", verb, process.returncode, time.monotonic() - began)
        if process.returncode:
            raise GitFailed(_describe_failure(verb, complaint))
        return out

    def _list_filters(self) -> tuple[str, ...]:
        """Return the settings that disable every filter defined in any configuration file."""
        if self._filters is None:
            assert self._program is not None
            command = (self._program, "-c", _OVERRIDES[0], "config", "--null", "--name-only", "--get-regexp", _FILTERS)
            process = self._start(command, stderr=subprocess.PIPE)
            out, complaint = _collect(process, "config", timeout=DEADLINE)
            if process.returncode not in (0, _NOTHING_FOUND):
                raise GitFailed(_describe_failure("config", complaint))
            # [filter ""] counts, too: the attribute "filter=" selects it.
            found = filter(None, out.decode(errors="replace").split("\0"))
            names = {name.partition(".")[2].rpartition(".")[0] for name in found}
            if any("=" in name or "\n" in name or "\ufffd" in name for name in names):
                raise GitFailed("git is not run: the repository defines a filter whose name cannot be overridden")
            off = (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
            self._filters = tuple(f"filter.{name}.{key}={value}" for name in sorted(names) for key, value in off)
        return self._filters

    def _start(self, command: tuple[str, ...], *, stderr: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        except OSError as error:
            raise GitFailed(f"cannot run git: {error.strerror}") from error


def _collect(process: subprocess.Popen[bytes], verb: str, *, timeout: float) -> tuple[bytes, bytes]:
    """Return a command's output and the beginning of its stderr; kill it and raise GitFailed on excess or timeout."""
    try:
        return collect_output(process, limit=MOST_OUTPUT, timeout=timeout, kill=process.kill)
    except TooMuchOutput as error:
        raise GitFailed(f"git {verb} prints more than {MOST_OUTPUT >> 20} MiB") from error
    except TimeoutError as error:
        raise GitFailed(f"git {verb} did not finish within {timeout:.0f} s") from error


def _describe_failure(verb: str, complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").strip().splitlines() or ["no reason given"]
    return f"git {verb} failed: {lines[0]}"


def _is_usable(name: str, env: Mapping[str, str], avoid: tuple[Path, ...]) -> bool:
    """Return whether a variable is set and names no file of a checkout: git itself runs inside of one."""
    return name in env and (name == _CALLER or is_outside(env[name], env, avoid=avoid))


def _pass_safe_folders(env: Mapping[str, str]) -> dict[str, str]:
    """Return the GIT_CONFIG_* variables that list safe checkouts, and no other setting."""
    count = env.get("GIT_CONFIG_COUNT", "")
    numbers = range(int(count)) if count.isascii() and count.isdecimal() and len(count) < 4 else ()
    keys = [number for number in numbers if env.get(f"GIT_CONFIG_KEY_{number}", "").lower() == "safe.directory"]
    made = {"GIT_CONFIG_COUNT": str(len(keys))} if keys else {}
    for place, number in enumerate(keys):
        made[f"GIT_CONFIG_KEY_{place}"] = "safe.directory"
        made[f"GIT_CONFIG_VALUE_{place}"] = env.get(f"GIT_CONFIG_VALUE_{number}", "")
    return made


def _refuse_bare_repository(folder: Path) -> None:
    """Raise GitFailed if git would treat ``folder`` or one of its parents as a bare repository.

    git 2.38 and later refuse that themselves (``safe.bareRepository``); older versions do not know the setting. The
    rules are those of git 2.34, ``setup.c`` (is_git_directory): HEAD may be a link to nothing, and a file ``commondir``
    may name another folder for the rest. A ``.git`` without HEAD does not count.
    """
    resolved = folder.resolve()
    for parent in (resolved, *resolved.parents):
        own = parent / ".git"
        if own.is_file() or _has(own, "HEAD"):
            return
        if _has(parent, "HEAD") and (_has(parent, "commondir") or (_has(parent, "objects") and _has(parent, "refs"))):
            raise GitFailed(f"git is not run: {parent} is itself a bare repository, whose configuration is not trusted")


def _has(folder: Path, name: str) -> bool:
    """Return whether a folder has an entry, even if that is a link to nothing."""
    return os.path.lexists(folder / name)
