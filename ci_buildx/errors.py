"""The whole tree of errors, with the exit code of each.

Every error that a user can meet is one of these. It holds fields, renders itself as one clear line
(what is wrong, where it came from, the fix) and never holds a secret. Foreign errors are translated
once, at the edge where they appear, with the cause kept by ``raise … from``.

    KubeBuilderError            exit 1
    ├── InputError              exit 2   bad input: nothing was created
    ├── LateInputError                   bad input that showed late: something was created
    ├── KubeError                        the Kubernetes API said no, or said nothing
    │   ├── Unreachable                  no answer: refused, timed out, TLS
    │   ├── Unauthorized                 401
    │   ├── Forbidden                    403: who lacks which verb on what
    │   ├── NotFound                     404
    │   ├── Conflict                     409
    │   ├── Invalid                      422
    │   ├── Refused                      nothing of a builder could be made
    │   └── Throttled                    429 or 5xx, retries used up
    ├── BootError                        a pod of the builder cannot start
    ├── Stopped                          work that was ended because the job was
    ├── PodLost                          a pod of the builder died while it was in use
    ├── TransportError                   no way to reach buildkitd in a running pod
    ├── BuildkitError                    buildkitd refused a call or the connection broke
    ├── SolveError                       the build itself failed
    ├── RegistryError                    a registry said no
    └── TeardownError                    something could not be removed
    Interrupted                 exit 130 (SIGINT), 143 (SIGTERM), 129 (SIGHUP) or 131 (SIGQUIT)
"""

from __future__ import annotations

import signal as _signal


class KubeBuilderError(Exception):
    """Base of all errors that are shown to the user as one line.

    ``message`` says what is wrong; ``fix`` (may be empty) what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}" if self.fix else self.message


class InputError(KubeBuilderError):
    """The user's input is wrong. ``source`` names the option, input, variable or file it came from."""

    exit_code = 2

    def __init__(self, message: str, *, source: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.source = source

    def __str__(self) -> str:
        head = f"{self.source}: {self.message}" if self.source else self.message
        return f"{head}; {self.fix}" if self.fix else head


class LateInputError(KubeBuilderError):
    """Bad input that only showed when a builder was there already: exit code 2 promises that nothing was created."""

    def __init__(self, cause: InputError) -> None:
        super().__init__(f"{cause.source}: {cause.message}" if cause.source else cause.message, fix=cause.fix)
        for note in getattr(cause, "__notes__", ()):
            self.add_note(note)


class KubeError(KubeBuilderError):
    """The Kubernetes API refused a request. ``status`` is the HTTP status, 0 where there was no answer."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.reason = reason


class Unreachable(KubeError):
    """The API server gave no answer."""


class Unauthorized(KubeError):
    """401: the credentials are missing, wrong or expired."""


class Forbidden(KubeError):
    """403: the message says who lacks which verb on which resource."""


class NotFound(KubeError):
    """404: the named object does not exist."""


class Conflict(KubeError):
    """409: the object exists already, or changed meanwhile."""


class Invalid(KubeError):
    """422: the API server refuses the object as it stands."""


class Refused(KubeError):
    """The API server let nothing of the builder be made; ``cause`` says why."""

    def __init__(self, cause: KubeError) -> None:
        super().__init__(cause.message, status=cause.status, reason=cause.reason, fix=cause.fix)
        self.cause = cause


class Throttled(KubeError):
    """429 or 5xx after all retries."""


class BootError(KubeBuilderError):
    """A pod of the builder cannot start. ``subject`` names the pod or workload, ``reason`` is Kubernetes' own word."""

    def __init__(self, subject: str, reason: str, detail: str, *, fix: str = "") -> None:
        super().__init__(f"{subject} cannot start: {reason}: {detail}", fix=fix)
        self.subject = subject
        self.reason = reason
        self.detail = detail


class PodLost(KubeBuilderError):
    """A pod of the builder died while it was in use. ``subject`` names it, ``reason`` is Kubernetes' own word."""

    def __init__(self, subject: str, reason: str, detail: str, *, fix: str = "") -> None:
        super().__init__(f"{subject} was lost: {reason}: {detail}", fix=fix)
        self.subject = subject
        self.reason = reason
        self.detail = detail


class Stopped(KubeBuilderError):
    """Work that was ended because the job was; what ended the job is another error."""

    def __init__(self) -> None:
        super().__init__("the job was ended")


class TransportError(KubeBuilderError):
    """buildkitd in a pod could not be reached by any transport."""


class BuildkitError(KubeBuilderError):
    """A call to buildkitd failed. ``code`` is the gRPC status name, for example ``UNAVAILABLE``."""

    def __init__(self, message: str, *, code: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.code = code


class SolveError(KubeBuilderError):
    """The build failed.

    ``vertex`` is the failing step's digest ("" where unknown); ``excerpt`` the marked lines of the
    Dockerfile, ready to print ("" where unknown), ``line`` the first of them (0 where unknown).
    """

    def __init__(self, message: str, *, vertex: str = "", excerpt: str = "", line: int = 0, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.vertex = vertex
        self.excerpt = excerpt
        self.line = line

    def reword(self, message: str, *, fix: str = "") -> SolveError:
        """The same failure in other words."""
        return SolveError(message, vertex=self.vertex, excerpt=self.excerpt, line=self.line, fix=fix or self.fix)


class RegistryError(KubeBuilderError):
    """A registry refused a request. ``status`` is the HTTP status, 0 where there was no answer."""

    def __init__(self, message: str, *, status: int = 0, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status


class TeardownError(KubeBuilderError):
    """Something of the builder could not be removed; ``left`` names each object that stays."""

    def __init__(self, message: str, *, left: tuple[str, ...] = (), fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.left = left


class Interrupted(BaseException):
    """A signal ended the work. Not an ``Exception``: only teardown and the entry point may catch it."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"interrupted by {_signal.Signals(signal).name}")
        self.signal = signal

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended."""
        return 128 + self.signal
