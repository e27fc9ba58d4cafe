"""The process around a verb: streams, environment, and the conversion of errors into exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from ci_buildx.errors import InputError, Interrupted, KubeBuilderError
from ci_buildx.model.plaintext import UNENCODABLE
from ci_buildx.model.record import dataclass
from ci_buildx.progress.renderer import TextOutlet


class StdoutFailed(OSError):
    """Standard output failed (disk full, device gone): neither a bug nor the build's failure."""


class StandardOutput(io.TextIOWrapper):
    """Standard output that raises StdoutFailed, or BrokenPipeError if the reader is gone."""

    def write(self, text: str, /) -> int:
        """Write to the buffer, and flush it if it is full."""
        try:
            return super().write(text)
        except OSError as error:
            raise _describe_error(error) from error

    def flush(self) -> None:
        """Flush the buffer."""
        try:
            super().flush()
        except OSError as error:
            raise _describe_error(error) from error


def watch_stdout(stream: TextIO) -> TextIO:
    """Replace one of the interpreter's own streams by a StandardOutput; return others unchanged."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding, errors = stream.encoding, UNENCODABLE if stream.errors == "strict" else stream.errors
    lines, through = stream.line_buffering, stream.write_through
    return StandardOutput(
        stream.detach(), encoding=encoding, errors=errors, line_buffering=lines, write_through=through
    )


def _describe_error(error: OSError) -> OSError:
    return error if isinstance(error, (BrokenPipeError, StdoutFailed)) else StdoutFailed(error.errno, error.strerror)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessContext:
    """Environment, arguments, absolute working directory and streams.

    ``stdin`` is None if the process is not interactive. ``argv`` are the arguments whose secrets are masked.
    """

    env: Mapping[str, str]
    cwd: Path
    stdout: TextIO
    stderr: TextIO
    stdin: TextIO | None = None
    argv: Sequence[str] = ()

    @property
    def stdout_is_closed(self) -> bool:
        """Whether standard output is closed and the null device replaces it."""
        return getattr(self.stdout, "name", "") == os.devnull

    def confirm(self, warning: str) -> bool:
        """Ask for confirmation, as docker's tools do. Raises InputError if there is no answer."""
        answer = ""
        if self.stdin is not None:
            self.stdout.write(f"WARNING! {warning} Are you sure you want to continue? [y/N] ")
            self.stdout.flush()
            answer = self.stdin.readline()
        if not answer:
            if self.stdin is not None:
                self.stdout.write("\n")  # The error gets a line of its own.
            raise InputError(
                "confirmation required, but stdin is not interactive",
                source="--force",
                fix="add it to skip the question",
            )
        return answer.strip().lower() == "y"

    def write_bytes(self, content: bytes) -> None:
        """Write binary content to standard output. Raises StdoutFailed, or BrokenPipeError if the reader is gone."""
        if not hasattr(self.stdout, "buffer"):
            self.stdout.write(content.decode(errors="replace"))
            return
        with self.open_binary() as stream:
            stream.write(content)

    @contextmanager
    def open_binary(self) -> Iterator[BinaryIO]:
        """Yield standard output for binary content. Raises StdoutFailed, or BrokenPipeError if the reader is gone."""
        self.stdout.flush()
        try:
            yield self.stdout.buffer
        except OSError as error:
            raise _describe_error(error) from error

    def list_secrets(self) -> tuple[str, ...]:
        """Return the secrets of the environment and the arguments, which no output may show."""
        return _list_secrets(self.env, self.argv)

    def mask(self, text: str) -> str:
        """Return a text without the process's secrets."""
        from ci_buildx.model import masker

        return masker.mask_secrets(text, self.list_secrets())

    def note(self, text: str) -> None:
        """Print a note on something that works as requested but is worth knowing."""
        self._tell(f"note: {text}")

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._tell(f"warning: {text}")

    def _tell(self, text: str) -> None:
        """Print one line on standard error, with secrets masked and control characters removed."""
        from ci_buildx.progress.step import drop_controls

        shown = drop_controls(self.mask(text))
        TextOutlet(self.stderr).write(f"kube-builder: {' '.join(shown.splitlines())}\n")


def read_process() -> ProcessContext:
    """Return the real process, and replace the streams of :mod:`sys`. The null device replaces a closed stream."""
    # In this order each one gets its own, lowest free descriptor, which no file or socket may get instead.
    sys.stdin = sys.stdin or _open_null("r")
    sys.stdout = watch_stdout(sys.stdout or _open_null("w"))
    sys.stderr = sys.stderr or _open_null("w")
    return ProcessContext(env=os.environ, cwd=Path.cwd(), stdout=sys.stdout, stderr=sys.stderr, stdin=sys.stdin)


def _open_null(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode, encoding="utf-8"))


CRASHED = 3
LONGEST_ERROR = 8192
"""Maximum characters of a line that reports an error."""
EXIT_CODES = """\
exit codes:
  0         success
  1         the build, the cluster or a registry failed
  2         invalid input; nothing was created
  3         bug in kube-builder; see the crash report that the error names
  130, 143  terminated by SIGINT or SIGTERM, after cleaning up
  129, 131  the same for SIGHUP and SIGQUIT
"""

_RED = "\x1b[31m"
_PLAIN = "\x1b[0m"


def run_guarded(work: Callable[[], int], *, stderr: TextIO, env: Mapping[str, str], argv: Sequence[str] = ()) -> int:
    """Run ``work`` and return its exit code. An error is printed, and its exit code returned.

    Secrets of ``env`` and ``argv`` are masked in errors.
    """

    def show(error: BaseException, line: str) -> None:
        _print_error(error, line, stderr, _list_secrets(env, argv))

    try:
        return work()
    except InputError as error:
        show(error, f"{_choose_prefix(stderr, env) if error.known else 'kube-builder: error:'} {error}")
        return error.exit_code
    except KubeBuilderError as error:
        show(error, f"{_choose_prefix(stderr, env)} {error}")
        return error.exit_code
    except Interrupted as error:
        show(error, f"{_choose_prefix(stderr, env)} {error.known}" if error.known else f"kube-builder: {error}")
        return error.exit_code
    except KeyboardInterrupt as error:
        show(error, "kube-builder: interrupted by SIGINT")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _discard_stdout()
        return 128 + signal.SIGPIPE
    except StdoutFailed as error:
        show(error, f"{_choose_prefix(stderr, env)} cannot write to standard output: {error.strerror}")
        return KubeBuilderError.exit_code
    except Exception as error:
        summary = f"{type(error).__name__}: {error}".rstrip(": ")
        show(
            error,
            f"kube-builder: internal error: {summary}; please report it with "
            f"{write_crash_report(error, _list_secrets(env, argv))}",
        )
        return CRASHED


def write_crash_report(error: Exception, hidden: Sequence[str] = ()) -> Path:
    """Write the traceback to a file that only this user can read, and return its path.

    Arguments, environment and the texts ``hidden`` are left out: they may contain secrets.
    """
    import platform
    import traceback

    from ci_buildx import __version__
    from ci_buildx.fsutil import scratch
    from ci_buildx.model.masker import mask_secrets

    with scratch.open_report() as stream:
        stream.write(f"kube-builder {__version__}, Python {platform.python_version()}, {describe_system()}\n\n")
        stream.write(mask_secrets("".join(traceback.format_exception(error)), hidden))
    return Path(stream.name)


def describe_system() -> str:
    """Return the system's name, release and machine.

    ``platform.platform`` would run the first ``uname`` of PATH, which may be the checkout's.
    """
    system = os.uname()
    return f"{system.sysname}-{system.release}-{system.machine}"


def _list_secrets(env: Mapping[str, str], argv: Sequence[str]) -> tuple[str, ...]:
    from ci_buildx.model import masker

    return masker.list_process_secrets(env, argv)


def _print_error(error: BaseException, line: str, stderr: TextIO, hidden: Sequence[str]) -> None:
    """Print the error on one line, and each of its notes on another. Does nothing if stderr is broken."""
    from ci_buildx.model.masker import mask_secrets
    from ci_buildx.progress.step import drop_controls

    texts = [line, *(f"note: {note}" for note in getattr(error, "__notes__", ()))]
    shown = [_shorten(drop_controls(_join_lines(mask_secrets(text, hidden)))) for text in texts]
    TextOutlet(stderr).write("".join(f"{text}\n" for text in shown))


def _shorten(text: str) -> str:
    """Cut the middle out of a line that quotes too much; its end is the fix."""
    half = LONGEST_ERROR // 2
    return text if len(text) <= LONGEST_ERROR else f"{text[:half]} … {text[-half:]}"


def _join_lines(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _choose_prefix(stderr: TextIO, env: Mapping[str, str]) -> str:
    colored = stderr.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
    return f"{_RED}ERROR:{_PLAIN}" if colored else "ERROR:"


def _discard_stdout() -> None:
    """Discard what is still buffered for a reader that is gone, so that the exit is silent."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
