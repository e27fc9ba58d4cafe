"""The tree of errors that users can meet, with the exit code of each.

An error holds fields, renders itself as one clear line (what is wrong, where it came from, the fix) and never holds a
secret. Foreign errors are translated once, at the edge where they appear; ``raise … from`` keeps the cause.

    KubeBuilderError            exit 1
    ├── InputError              exit 2   invalid input; nothing was created
    ├── LateInputError                   invalid input found late; something was created already
    ├── KubeError                        the Kubernetes API refused a request or did not answer
    │   ├── Unreachable                  no answer: refused, timed out, TLS
    │   ├── Unauthorized                 401
    │   ├── Forbidden                    403: which account lacks which verb on which resource
    │   ├── NotFound                     404
    │   ├── Conflict                     409
    │   ├── Invalid                      422
    │   ├── Refused                      no object of the builder could be created
    │   └── Throttled                    429 or 5xx, retries exhausted
    ├── BootError                        a pod of the builder cannot start
    ├── QueueTimeout                     no slot of a builder's pods became free in time
    ├── Stopped                          work ended because the job ended
    ├── PodLost                          a pod of the builder died while in use
    ├── TransportError                   cannot reach buildkitd in a running pod
    ├── BuildkitError                    buildkitd refused a call or the connection broke
    ├── SolveError                       the build itself failed
    ├── RegistryError                    a registry refused a request
    └── TeardownError                    something could not be deleted
    Interrupted                 exit 130 (SIGINT), 143 (SIGTERM), 129 (SIGHUP) or 131 (SIGQUIT)
"""

from __future__ import annotations

import signal as _signal


class KubeBuilderError(Exception):
    """Base of all errors that are shown to the user as one line.

    ``message`` describes the problem; ``fix`` (may be empty) describes how to solve it.
    """

    exit_code = 1

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}" if self.fix else self.message


class InputError(KubeBuilderError):
    """Invalid user input. ``source`` names the option, input, variable or file that it came from.

    An error of docker buildx that scripts look for is ``known`` to them, and is printed with buildx's prefix.
    """

    exit_code = 2

    def __init__(self, message: str, *, source: str = "", fix: str = "", known: bool = False) -> None:
        super().__init__(message, fix=fix)
        self.source = source
        self.known = known

    def __str__(self) -> str:
        head = f"{self.source}: {self.message}" if self.source else self.message
        return f"{head}; {self.fix}" if self.fix else head


class LateInputError(KubeBuilderError):
    """Invalid input found after a builder was created: exit code 2 promises that nothing was created."""

    def __init__(self, cause: InputError) -> None:
        super().__init__(f"{cause.source}: {cause.message}" if cause.source else cause.message, fix=cause.fix)
        for note in getattr(cause, "__notes__", ()):
            self.add_note(note)


class KubeError(KubeBuilderError):
    """The Kubernetes API refused a request. ``status`` is the HTTP status, 0 if there was no answer."""

    def __init__(self, message: str, *, status: int = 0, reason: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status
        self.reason = reason


class Unreachable(KubeError):
    """The API server did not answer."""


class Unauthorized(KubeError):
    """401: the credentials are missing, wrong or expired."""


class Forbidden(KubeError):
    """403: the message names the account, the missing verb and the resource."""


class NotFound(KubeError):
    """404: the named object does not exist."""


class Conflict(KubeError):
    """409: the object already exists, or changed in the meantime."""


class Invalid(KubeError):
    """422: the API server rejects the object as invalid."""


class Refused(KubeError):
    """The API server refused to create any object of the builder; ``cause`` holds its reason."""

    def __init__(self, cause: KubeError) -> None:
        super().__init__(cause.message, status=cause.status, reason=cause.reason, fix=cause.fix)
        self.cause = cause


class Throttled(KubeError):
    """429 or 5xx after all retries."""


class BootError(KubeBuilderError):
    """A pod of the builder cannot start. ``subject`` names the pod or workload; ``reason`` is Kubernetes' own word.

    ``repeatable`` means that the cluster ended the pod, so another one may start.
    """

    def __init__(self, subject: str, reason: str, detail: str, *, fix: str = "", repeatable: bool = False) -> None:
        super().__init__(f"{subject} cannot start: {reason}: {detail}", fix=fix)
        self.repeatable = repeatable
        self.subject = subject
        self.reason = reason
        self.detail = detail


class PodLost(KubeBuilderError):
    """A pod of the builder died while in use. ``subject`` names the pod; ``reason`` is Kubernetes' own word.

    ``repeatable`` means that the build is not the cause, so it may succeed in another pod.
    """

    def __init__(self, subject: str, reason: str, detail: str, *, fix: str = "", repeatable: bool = False) -> None:
        super().__init__(f"{subject} was lost: {reason}: {detail}", fix=fix)
        self.repeatable = repeatable
        self.subject = subject
        self.reason = reason
        self.detail = detail


class QueueTimeout(KubeBuilderError):
    """A build waited too long for a slot in a builder's pods. Nothing was sent to any of them."""


class Stopped(KubeBuilderError):
    """Work that was ended because the job ended; the cause is reported by another error."""

    def __init__(self) -> None:
        super().__init__("the job was ended")


class TransportError(KubeBuilderError):
    """No transport could reach buildkitd in a pod."""


class BuildkitError(KubeBuilderError):
    """A call to buildkitd failed. ``code`` is the name of the gRPC status, for example ``UNAVAILABLE``."""

    def __init__(self, message: str, *, code: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.code = code


class SolveError(KubeBuilderError):
    """The build failed.

    ``vertex`` is the digest of the failing step ("" if unknown). ``excerpt`` holds the marked lines of the Dockerfile,
    ready to print ("" if unknown); ``line`` is the number of the first of them (0 if unknown). ``target`` is the target
    of ``bake`` that failed.
    """

    target = ""

    def __init__(self, message: str, *, vertex: str = "", excerpt: str = "", line: int = 0, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.vertex = vertex
        self.excerpt = excerpt
        self.line = line

    def reword(self, message: str, *, fix: str = "") -> SolveError:
        """Return the same failure with another message; without ``fix``, the fix stays."""
        return SolveError(message, vertex=self.vertex, excerpt=self.excerpt, line=self.line, fix=fix or self.fix)


class RegistryError(KubeBuilderError):
    """A registry refused a request. ``status`` is the HTTP status, 0 if there was no answer."""

    def __init__(self, message: str, *, status: int = 0, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.status = status


class TeardownError(KubeBuilderError):
    """Some objects of the builder could not be deleted; ``left`` names each of them."""

    def __init__(self, message: str, *, left: tuple[str, ...] = (), fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.left = left


class Interrupted(BaseException):
    """A signal ended the work. Not an ``Exception``: only teardown and the entry point may catch it.

    ``known`` is docker buildx's text, shown in place of the message; "" if scripts look for none.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f"interrupted by {_signal.Signals(signal).name}")
        self.signal = signal
        self.known = ""

    @property
    def exit_code(self) -> int:
        """Exit code that a shell expects of a process killed by a signal: 128 plus the signal's number."""
        return 128 + self.signal
