"""Which failures are repeated: of pods that a build has lost, and of pushes to a registry. Pure decisions."""

from __future__ import annotations

from typing import TypeVar

from ci_buildx.errors import (
    BootError,
    BuildkitError,
    KubeBuilderError,
    PodLost,
    RegistryError,
    SolveError,
    TransportError,
)
from ci_buildx.model.lazy import compile_lazily
from ci_buildx.settings.values import Settings

F = TypeVar("F", SolveError, RegistryError)

LOST_CODES = ("UNAVAILABLE", "CANCELLED")
"""Codes of calls that ended because their connection broke, as ``buildkit.grpc`` reads them."""
_OVERDUE = "Timeout"
"""Reason of a BootError after the builder's time limit (``builder.boot.watch``)."""
_PUSH = "failed to push "
_REGISTRY_FAULTS = compile_lazily(
    r"unexpected status.*: 5\d\d |\b(?:500|502|503|504) [A-Z][a-z]+|connection refused|connection reset|broken pipe"
    r"|i/o timeout|TLS handshake timeout|Client\.Timeout|deadline exceeded|no route to host|unexpected EOF|: EOF\b"
    r"|network is unreachable|server closed idle connection|no such host|server misbehaving"
)
"""Failures of a registry or of the way to it that may pass: Go's ``net`` and ``net/http``, containerd 2.4.2.

A refusal (a login, a quota, an immutable tag, a malformed image) is none of them.
"""
_ENDED_STEP = compile_lazily(r"exit code: (?:137|143)\b|context canceled|signal: (?:killed|terminated)")
"""Ends of a step that was killed from outside, maybe with its pod."""
_MEMORY = compile_lazily(r"did not complete successfully: (?:exit code: 137|cannot allocate memory)\s*\Z")
"""Ends of a step that ran out of memory while its pod runs on: with cgroup v1, the kernel kills one process of the pod.

With cgroup v2, buildkitd counts what the kernel kills (BuildKit 0.34.2, ``executor/runcexecutor``: ENOMEM), or the
kernel kills the container as a whole.
"""
_MORE_MEMORY = "if the step ran out of memory, raise driver-opt limits.memory, or requests.memory if there is no limit"


def is_pod_loss(failure: BaseException) -> bool:
    """Return whether a build that was under way may go on in another pod.

    It may if the pod or every way to it is gone. It may not if the build itself failed, if the pod has reached a limit
    that its build exceeds (memory, disk, lifetime), or if the build was ended by its user.
    """
    match failure:
        case PodLost() | BootError():
            return failure.repeatable
        case BuildkitError():
            return failure.code in LOST_CODES
        case TransportError():
            return True
        case _:
            return False


def judge_reconnection(failure: BootError | PodLost | TransportError) -> KubeBuilderError:
    """Return the failure to connect again to a pod that has answered: one that is not ready in time is unreachable."""
    if isinstance(failure, BootError) and failure.reason == _OVERDUE:
        return TransportError(failure.message, fix=failure.fix)
    return failure


def is_boot_loss(failure: BaseException) -> bool:
    """Return whether a pod that was lost before it answered is replaced.

    One that cannot be reached is not: nothing has shown that another one can.
    """
    return isinstance(failure, (BootError, PodLost)) and failure.repeatable


def is_passing_push_failure(failure: SolveError) -> bool:
    """Return whether a registry failed a push for a reason that may pass."""
    _, pushed, reason = failure.message.partition(_PUSH)
    return bool(pushed and _REGISTRY_FAULTS.search(reason))


def advise_push(failure: F, settings: Settings) -> F:
    """Return the failure of a push, or of a merge, with a fix: how to push again from the cache."""
    failure.fix = f"{failure.fix}; {_tell_cache(settings)}" if failure.fix else _tell_cache(settings)
    return failure


def _tell_cache(settings: Settings) -> str:
    if settings.builder_name:
        return f"all steps are in the cache of builder {settings.builder_name}: the same command only pushes again"
    if settings.keep:
        return "all steps are in the cache of the builder, which is kept: name it with --builder to push again"
    return "the cache is removed with this build's builder: on a lasting one (--builder), the next build only pushes"


def advise_memory(failure: SolveError) -> SolveError:
    """Return the failure; with a fix if its step may have run out of memory."""
    if not failure.fix and _MEMORY.search(failure.message):
        failure.fix = _MORE_MEMORY
    return failure


def was_step_killed(failure: SolveError) -> bool:
    """Return whether the failing step may have been killed together with its pod."""
    return _ENDED_STEP.search(failure.message) is not None


def describe_retry(failure: BaseException, left: int) -> str:
    """Return the warning that a build goes on in another pod; ``left`` is the number of retries after this one."""
    cause = failure.message if isinstance(failure, KubeBuilderError) else str(failure)
    more = "no retry is left" if not left else f"{left} more {'retry is' if left == 1 else 'retries are'} left"
    return f"{cause}; the build goes on in another pod ({more})"
