"""Builds that run together on one builder: the result of one can be a context of others on the same node.

As in docker buildx 0.38.2 (``build/build.go``): results are registered first, so that a build with external caches
finds them; they are computed in the order of their dependencies; a build ends after those that need its result, because
its session serves their files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ci_buildx.buildkit.messages import SolveRequest
from ci_buildx.buildkit.relay import FrontendInputs, FrontendResult, make_inputs
from ci_buildx.errors import KubeBuilderError, Stopped
from ci_buildx.model.record import dataclass, replace

_POLL = 0.2


class LinkKey(NamedTuple):
    """One target's build on one node."""

    target: str
    node: str


class TargetLinks:
    """The state of builds that run together; thread-safe.

    ``contexts`` has, for each build, the named contexts that are other targets. With ``together``, no build is exported
    before all have been computed.
    """

    def __init__(self, contexts: Mapping[LinkKey, Mapping[str, str]], *, together: bool = False) -> None:
        self._contexts = contexts
        self._together = together
        self._parents = {
            key: tuple(LinkKey(target, key.node) for target in dict.fromkeys(named.values()))
            for key, named in contexts.items()
        }
        self._children: dict[LinkKey, list[LinkKey]] = {}
        for key, parents in self._parents.items():
            for parent in parents:
                self._children.setdefault(parent, []).append(key)
        self._results: dict[LinkKey, FrontendResult | BaseException] = {}
        self._evaluated: dict[LinkKey, BaseException | None] = {}
        self._completed: set[LinkKey] = set()
        self._changed = threading.Condition()
        self.aborted: set[str] = set()
        """Targets that ended because another one failed."""

    def join(self, target: str, node: str, stop: threading.Event) -> LinkedSolve | None:
        """Return what one build exchanges with the others; None if it is independent of them."""
        key = LinkKey(target, node)
        if not (self._together or self._parents.get(key) or self._children.get(key)):
            return None
        return LinkedSolve(links=self, key=key, stop=stop)

    def fail(self, target: str, error: BaseException) -> None:
        """Record that a target failed on its nodes; those that need it fail as well."""
        with self._changed:
            for key in self._contexts:
                if key.target == target:
                    self._results[key] = error
                    self._evaluated[key] = error
                    self._completed.add(key)
            self._changed.notify_all()

    def take_contexts(self, key: LinkKey, stop: threading.Event) -> dict[str, FrontendResult]:
        """Wait for the results that a build needs, and return them by the names of its contexts."""
        self._wait(lambda: all(one in self._results for one in self._parents[key]), stop)
        found = {}
        for name, target in self._contexts[key].items():
            result = self._results[LinkKey(target, key.node)]
            if isinstance(result, BaseException):
                raise self._abort(key, target, result)
            found[name] = result
        return found

    def hold(self, key: LinkKey, result: FrontendResult, evaluate: Callable[[], None], stop: threading.Event) -> None:
        """Register a result, compute it after those that it needs, and wait for those that need it."""
        others = tuple(self._contexts) if self._together else ()
        children = self._children.get(key, ())
        self._note(lambda: self._results.update({key: result}))
        self._wait(lambda: all(one in self._results for one in (*children, *others)), stop)
        self._require(key, self._parents[key], stop)
        evaluate()
        self._note(lambda: self._evaluated.update({key: None}))
        self._require(key, others, stop)
        self._wait(lambda: self._completed.issuperset(children), stop)
        self._note(lambda: self._completed.add(key))

    def _require(self, key: LinkKey, needed: Iterable[LinkKey], stop: threading.Event) -> None:
        """Wait until builds have been computed."""
        builds = tuple(needed)
        self._wait(lambda: all(one in self._evaluated for one in builds), stop)
        for one in builds:
            if (error := self._evaluated[one]) is not None:
                raise self._abort(key, one.target, error)

    def _abort(self, key: LinkKey, target: str, error: BaseException) -> KubeBuilderError:
        self.aborted.add(key.target)
        reason = error.message if isinstance(error, KubeBuilderError) else str(error)
        return KubeBuilderError(f"aborted: target {target} failed: {reason}")

    def _note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def _wait(self, is_ready: Callable[[], bool], stop: threading.Event) -> None:
        with self._changed:
            while not self._changed.wait_for(is_ready, timeout=_POLL):
                if stop.is_set():
                    raise Stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedSolve:
    """One build's part; see :class:`ci_buildx.buildkit.relay.SolveRelay`."""

    links: TargetLinks
    key: LinkKey
    stop: threading.Event

    def add_inputs(self, request: SolveRequest) -> tuple[SolveRequest, FrontendInputs]:
        """Wait for the results that the request needs; return the request with them. Raises KubeBuilderError."""
        inputs = make_inputs(self.links.take_contexts(self.key, self.stop))
        kept = {name: value for name, value in request.frontend_attrs.items() if name not in inputs.replaced}
        return replace(request, frontend_attrs=kept | dict(inputs.attrs)), inputs

    def hold(self, result: FrontendResult, evaluate: Callable[[], None]) -> None:
        """Share a result with the other builds. Raises KubeBuilderError."""
        self.links.hold(self.key, result, evaluate, self.stop)
