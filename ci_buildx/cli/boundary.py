"""The one place where an error becomes lines on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
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
  129, 131  the same for SIGHUP and SIGQUIT
"""

_RED = "\x1b[31m"
_PLAIN = "\x1b[0m"


def guard(work: Callable[[], int], *, stderr: TextIO, env: Mapping[str, str], argv: Sequence[str] = ()) -> int:
    """Do ``work`` and return its exit code, or that of the error it ended with, which is shown.

    What is secret in ``env`` and ``argv`` is in no error.
    """

    def show(error: BaseException, line: str) -> None:
        _show(error, line, stderr, _hidden(env, argv))

    try:
        return work()
    except InputError as error:
        show(error, f"kube-builder: error: {error}")
        return error.exit_code
    except KubeBuilderError as error:
        show(error, f"{_mark(stderr, env)} {error}")
        return error.exit_code
    except Interrupted as error:
        show(error, f"kube-builder: {error}")
        return error.exit_code
    except KeyboardInterrupt as error:
        show(error, "kube-builder: interrupted by SIGINT")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _forget_stdout()
        return 128 + signal.SIGPIPE
    except StdoutFailed as error:
        show(error, f"{_mark(stderr, env)} cannot write to standard output: {error.strerror}")
        return KubeBuilderError.exit_code
    except Exception as error:
        summary = f"{type(error).__name__}: {error}".rstrip(": ")
        show(
            error,
            f"kube-builder: internal error: {summary}; please report it with {report_crash(error, _hidden(env, argv))}",
        )
        return CRASHED


def report_crash(error: Exception, hidden: Sequence[str] = ()) -> Path:
    """Write the traceback to a file that only this user can read, and return its path.

    Arguments and environment stay out: they may hold secrets. So do the texts ``hidden``.
    """
    import platform
    import traceback

    from ci_buildx import __version__
    from ci_buildx.fsutil import scratch
    from ci_buildx.model.masker import without

    with scratch.open_report() as stream:
        stream.write(f"kube-builder {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n")
        stream.write(without("".join(traceback.format_exception(error)), hidden))
    return Path(stream.name)


def _hidden(env: Mapping[str, str], argv: Sequence[str]) -> tuple[str, ...]:
    from ci_buildx.model import masker

    return masker.of_process(env, argv)


def _show(error: BaseException, line: str, stderr: TextIO, hidden: Sequence[str]) -> None:
    """One line for the error, one for each of its notes; nothing where stderr is broken."""
    from ci_buildx.model.masker import without
    from ci_buildx.progress.text import inert

    texts = [line, *(f"note: {note}" for note in getattr(error, "__notes__", ()))]
    Outlet(stderr).write("".join(f"{inert(_one_line(without(text, hidden)))}\n" for text in texts))


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
