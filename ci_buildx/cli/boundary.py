"""The one place where an error becomes lines on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from ci_buildx.cli.stdout import StdoutFailed
from ci_buildx.errors import InputError, Interrupted, KubeBuilderError
from ci_buildx.progress.outlet import Outlet

CRASHED = 3
EXIT_CODES = """\
exit codes:
  0         all is done
  1         the build, the cluster or a registry failed
  2         the input is wrong; nothing was created
  3         kube-builder itself failed; the crash report it names says where
  130, 143  ended by SIGINT or SIGTERM, after cleaning up
"""

_RED = "\x1b[31m"
_PLAIN = "\x1b[0m"


def guard(work: Callable[[], int], *, stderr: TextIO, env: Mapping[str, str]) -> int:
    """Do ``work`` and return its exit code, or that of the error it ended with, which is shown."""
    try:
        return work()
    except InputError as error:
        _show(error, f"kube-builder: error: {error}", stderr)
        return error.exit_code
    except KubeBuilderError as error:
        _show(error, f"{_mark(stderr, env)} {error}", stderr)
        return error.exit_code
    except Interrupted as error:
        _show(error, f"kube-builder: {error}", stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        _show(error, "kube-builder: interrupted by SIGINT", stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _forget_stdout()
        return 128 + signal.SIGPIPE
    except StdoutFailed as error:
        _show(error, f"{_mark(stderr, env)} cannot write to standard output: {error.strerror}", stderr)
        return KubeBuilderError.exit_code
    except Exception as error:
        summary = f"{type(error).__name__}: {error}".rstrip(": ")
        _show(error, f"kube-builder: internal error: {summary}; please report it with {report_crash(error)}", stderr)
        return CRASHED


def report_crash(error: Exception) -> Path:
    """Write the traceback to a file that only this user can read, and return its path.

    Arguments and environment stay out: they may hold secrets.
    """
    import platform
    import tempfile
    import traceback

    from ci_buildx import __version__

    descriptor, path = tempfile.mkstemp(prefix="kube-builder-crash-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"kube-builder {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n")
        stream.writelines(traceback.format_exception(error))
    return Path(path)


def _show(error: BaseException, line: str, stderr: TextIO) -> None:
    """One line for the error, one for each of its notes; nothing where stderr is broken."""
    lines = [_one_line(line), *(f"note: {_one_line(note)}" for note in getattr(error, "__notes__", ()))]
    Outlet(stderr).write("".join(f"{each}\n" for each in lines))


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _mark(stderr: TextIO, env: Mapping[str, str]) -> str:
    colored = stderr.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
    return f"{_RED}ERROR:{_PLAIN}" if colored else "ERROR:"


def _forget_stdout() -> None:
    """Let what is still buffered for the reader who went away vanish silently at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
