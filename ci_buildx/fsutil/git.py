"""The one way in which git is run: in a stranger's checkout, whose configuration is data.

A repository's configuration, attributes and hooks can name programs that git starts, and a folder of the context can
itself be a repository. So git runs with an environment of its own, refuses bare repositories that it only came across,
and every setting that names a program is overridden on the command line, which wins over all files. Filters have names
of the repository's choice; they are listed first and switched off one by one.

Sources: git's documentation of ``git-config`` (``safe.bareRepository``, ``core.fsmonitor``, ``filter.<driver>``),
``git(1)`` (``GIT_ALLOW_PROTOCOL``, ``GIT_NO_LAZY_FETCH``) and ``convert.c``: a filter whose command is empty is none.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from ci_buildx.model import debug
from ci_buildx.model.programs import find_checkout, find_program, make_safe_path, read_beginning

_LOG = debug.get_log("fsutil")
_INHERITED = (
    *("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"),
    "SUDO_UID",  # git trusts the checkout of the user who called sudo
)
"""The user's own configuration counts: it says which checkouts are safe, whoever owns them."""
_FIXED = {
    "GIT_ALLOW_PROTOCOL": "",  # no protocol is allowed, so that no missing object is fetched
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
    "submodule.recurse=false",
)
_WITH_DIFF = ("diff", "log", "show")
_OF_FILES = ("diff", "status")
_WITHOUT_FILTERS = ("for-each-ref", "log", "ls-files", "remote", "rev-parse", "show")
"""Verbs that read no file of the working tree, so that no filter is asked; the others cost a look for filters."""
_NO_SUBMODULES = ("--ignore-submodules=dirty",)
"""git would look for changes with the submodule's own settings; only the option overrides submodule.<name>.ignore."""
_NO_DRIVERS = ("--no-ext-diff", "--no-textconv")
"""Drivers are chosen by attributes, under names of the repository's choice, so these options are the only way."""
_FILTERS = r"^filter\..*\.(clean|smudge|process|required)$"


DEADLINE = 600.0
"""Seconds of a command: in a large checkout it may look at every file."""
MOST_OUTPUT = 256 << 20
"""Bytes that a command may print: the names of two million files."""
_LAST_WORDS = 1.0


class GitFailed(Exception):
    """git cannot be run, or ended with an error; the text is one line."""


class Git:
    """git in ``folder``. Every method raises GitFailed.

    ``env`` is the environment that a few variables are taken from, by default this process's own.
    """

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        given = os.environ if env is None else env
        self._folder = folder
        checkout = find_checkout(folder)
        self._avoid = (folder,) if checkout is None else (folder, checkout)
        self._env = {"PATH": make_safe_path(given, avoid=self._avoid), **_FIXED}
        self._env |= {name: given[name] for name in _INHERITED if name in given and self._is_outside(given[name])}
        self._env |= _pass_safe_folders(given)
        self._program = find_program("git", given, avoid=self._avoid)
        self._filters: tuple[str, ...] | None = None

    def read(self, *arguments: str, timeout: float | None = None) -> bytes:
        """Return all that a command prints; ``timeout`` is in seconds."""
        process = self.start(*arguments)
        try:
            return self.finish(process, arguments[0], timeout=timeout)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def read_text(self, *arguments: str, timeout: float | None = None) -> str:
        """Return all that a command prints, as text without white space at its ends."""
        return self.read(*arguments, timeout=timeout).decode(errors="replace").strip()

    def read_partly(self, *arguments: str, timeout: float) -> str:
        """Return what a command printed before it ended, also if it failed; "" if it cannot be run."""
        try:
            with self.start(*arguments, stderr=subprocess.DEVNULL) as process:
                return _collect(process, arguments[0], timeout=timeout)[0].decode(errors="replace")
        except GitFailed:
            return ""

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start a command; the result is a context manager that waits for its end."""
        if self._program is None:
            raise GitFailed("cannot run git: it is not installed, or only inside of the checkout")
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
        """Return all that the running command ``verb`` prints."""
        began = time.monotonic()
        out, complaint = _collect(process, verb, timeout=DEADLINE if timeout is None else timeout)
        _LOG.debug("git %s: exit code %s after %.3f s", verb, process.returncode, time.monotonic() - began)
        if process.returncode:
            lines = (complaint or b"").decode(errors="replace").strip().splitlines() or ["no reason is given"]
            raise GitFailed(f"git {verb} failed: {lines[0]}")
        return out

    def _list_filters(self) -> tuple[str, ...]:
        """Return the settings that switch off all filters that any configuration defines."""
        if self._filters is None:
            assert self._program is not None
            command = (self._program, "-c", _OVERRIDES[0], "config", "--null", "--name-only", "--get-regexp", _FILTERS)
            process = self._start(command, stderr=subprocess.PIPE)
            out, _ = _collect(
                process, "config", timeout=DEADLINE
            )  # It ends with 1 if there are none, or if this is no repository.
            # [filter ""] is one, too: the attribute "filter=" chooses it.
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

    def _is_outside(self, value: str) -> bool:
        """Whether a variable does not lead into the checkout, whose files must not configure git."""
        path = Path(value).resolve()
        return not any(path.is_relative_to(root.resolve()) for root in self._avoid)


def _collect(process: subprocess.Popen[bytes], verb: str, *, timeout: float) -> tuple[bytes, bytes]:
    """Return what a command prints and the beginning of its complaints. Raises GitFailed, and ends it, if it must."""
    complaints: list[bytes] = []
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    reader = None
    if process.stderr is not None:
        reader = threading.Thread(target=read_beginning, args=(process.stderr, complaints), daemon=True)
        reader.start()
    timer = threading.Timer(timeout, expire)
    timer.start()
    try:
        assert process.stdout is not None
        out = process.stdout.read(MOST_OUTPUT + 1)
        if len(out) > MOST_OUTPUT:
            raise GitFailed(f"git {verb} prints more than {MOST_OUTPUT >> 20} MiB")
        process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        if reader is not None:
            reader.join(_LAST_WORDS)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    if expired.is_set():
        raise GitFailed(f"git {verb} did not end within {timeout:.0f} s")
    return out, b"".join(complaints)


def _pass_safe_folders(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables GIT_CONFIG_* that say which checkouts are safe, and no other setting."""
    count = env.get("GIT_CONFIG_COUNT", "")
    numbers = range(int(count)) if count.isascii() and count.isdecimal() and len(count) < 4 else ()
    keys = [number for number in numbers if env.get(f"GIT_CONFIG_KEY_{number}", "").lower() == "safe.directory"]
    made = {"GIT_CONFIG_COUNT": str(len(keys))} if keys else {}
    for place, number in enumerate(keys):
        made[f"GIT_CONFIG_KEY_{place}"] = "safe.directory"
        made[f"GIT_CONFIG_VALUE_{place}"] = env.get(f"GIT_CONFIG_VALUE_{number}", "")
    return made


def _refuse_bare_repository(folder: Path) -> None:
    """Raise GitFailed if git would take ``folder``, or one above it, for a bare repository.

    git 2.38 and later refuse it themselves (``safe.bareRepository``); older ones do not know the setting.
    """
    resolved = folder.resolve()
    for parent in (resolved, *resolved.parents):
        if (parent / ".git").exists():
            return
        if (parent / "HEAD").exists() and (parent / "objects").is_dir() and (parent / "refs").is_dir():
            raise GitFailed(f"git is not run: {parent} is itself a bare repository, whose settings are a stranger's")
