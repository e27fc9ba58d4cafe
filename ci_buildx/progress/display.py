"""The display of one build: status streams of all nodes and our own phases go in, one of four modes draws them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO, assert_never

from ci_buildx.errors import InputError, Interrupted, SolveError, Stopped
from ci_buildx.model import debug
from ci_buildx.model.masker import without
from ci_buildx.model.record import replace
from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress.graph import Graph
from ci_buildx.progress.outlet import Outlet
from ci_buildx.progress.plain import Plain
from ci_buildx.progress.renderer import Renderer, Update
from ci_buildx.progress.step import PHASE_DIGEST
from ci_buildx.progress.text import CANCELED, prefixed
from ci_buildx.settings.values import Progress

if TYPE_CHECKING:
    from ci_buildx.progress.report import Report
    from ci_buildx.progress.summary import Summary
    from ci_buildx.progress.timeline import Lap

_LOG = debug.get_log("progress")
Clock = Callable[[], float]
"""Seconds since the epoch."""
_REMEMBERED = 1024
"""Texts of which it is known what is hidden in them: each message names its steps and their parts again."""


class Phase:
    """A running phase of our own; leaving the context ends it, with an error if one passes through."""

    def __init__(self, display: Display, name: str) -> None:
        self._display = display
        self._vertex = Vertex(digest=PHASE_DIGEST + os.urandom(16).hex(), name=name, started=display.clock())
        self._display.update(StatusUpdate(vertexes=(self._vertex,)))

    def say(self, text: str) -> None:
        """Add a line of output; nothing once it has ended."""
        if self._vertex.completed is not None:
            return
        log = VertexLog(
            vertex=self._vertex.digest, timestamp=self._display.clock(), data=text.encode(errors="replace") + b"\n"
        )
        self._display.update(StatusUpdate(logs=(log,)))

    def end(self, error: BaseException | None = None) -> None:
        """End it; a second call changes nothing."""
        if self._vertex.completed is not None:
            return
        text = "" if error is None else _said(error)
        self._vertex = replace(self._vertex, completed=self._display.clock(), error=text)
        self._display.update(StatusUpdate(vertexes=(self._vertex,)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


class Display:
    """Thread-safe: several nodes report at once. A stream that breaks silences the display and never ends the build."""

    def __init__(self, renderer: Renderer, graph: Graph, *, clock: Clock, hidden: Sequence[str] = ()) -> None:
        self.clock = clock
        self._masked = lru_cache(_REMEMBERED)(partial(without, hidden=tuple(hidden)))
        self._renderer = renderer
        self._graph = graph
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._ticker: threading.Thread | None = None
        self._diverts = False

    def update(self, status: StatusUpdate, node: str = "") -> None:
        """Take in one message of the status stream of ``node`` ("" where there is one node, and for our phases)."""
        status = self._without(_named(status, node))
        with self._lock:
            now = self.clock()
            changes = self._graph.update(status, node=node, now=now)
            self._renderer.take(Update(status=status, changes=changes, now=now))
            self._start_ticker()

    def masked(self, text: str) -> str:
        """A text as it may be shown: without what is hidden."""
        return self._masked(text)

    def phase(self, name: str, detail: str = "") -> Phase:
        """Begin a phase of our own, shown as the step ``[internal] name`` with ``detail`` as its first output.

        Used as a context manager it ends with the block; otherwise call ``end``.
        """
        phase = Phase(self, f"[internal] {name}")
        if detail:
            phase.say(detail)
        return phase

    def note(self, name: str, text: str) -> None:
        """Show a fact of our own: a phase that ends at once."""
        self.phase(name, text).end()

    def divert_log(self, put_above: Callable[[str], None]) -> None:
        """Let ``put_above`` write the lines of the debug log until the display closes: it redraws the terminal."""

        def write(line: str) -> None:
            with self._lock:
                put_above(line)

        self._diverts = True
        debug.divert(write)

    def warn(self, text: str) -> None:
        """Show a warning of our own."""
        with self._lock:
            self._renderer.refresh(self.clock())
            self._renderer.warn(self.masked(text))

    def forgive(self, node: str) -> None:
        """Do not tell at the end of what has failed on ``node`` until now: it is tried again."""
        with self._lock:
            self._graph.forgive(node)

    def cancel(self) -> None:
        """Show what still runs as stopped."""
        with self._lock:
            now = self.clock()
            self._renderer.take(Update(status=StatusUpdate(), changes=self._graph.cancel(now), now=now))

    def summary(self) -> Summary:
        """What the build has come to so far."""
        from ci_buildx.progress.summary import summarize

        with self._lock:
            return summarize(self._graph, now=self.clock())

    def warnings(self) -> tuple[VertexWarning, ...]:
        """What build checks have found so far, each once."""
        with self._lock:
            return tuple(self._graph.warnings)

    def report(self, title: str, *, laps: Iterable[Lap] = (), failure: str = "") -> Report:
        """What is known of the build of ``title`` by now, with phases of ours that were not shown."""
        from ci_buildx.progress import timeline
        from ci_buildx.progress.report import Report
        from ci_buildx.progress.summary import summarize

        with self._lock:
            now = self.clock()
            return Report(
                title=self.masked(title),
                timeline=timeline.read(self._graph, now=now, laps=laps),
                summary=summarize(self._graph, now=now),
                failure=self.masked(failure),
            )

    def close(self, error: BaseException | None = None) -> None:
        """Draw the last state, the output of failed steps and the excerpt of the Dockerfile; later calls do nothing.

        The final ``ERROR:`` line is not written here.
        """
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            if self._diverts:
                debug.divert(None)
            excerpt = self.masked(error.excerpt) if isinstance(error, SolveError) else ""
            self._renderer.close(self._graph, self.clock(), excerpt=excerpt)
        if self._ticker is not None:
            self._ticker.join()

    def _without(self, status: StatusUpdate) -> StatusUpdate:
        """The message without what is hidden, but for what steps themselves print: a log has no end where one can look.

        Steps are named after their sources, and errors repeat what a daemon was sent. Our own phases' output is ours.
        """
        return replace(
            status,
            vertexes=tuple(map(self._vertex, status.vertexes)),
            statuses=tuple(map(self._status, status.statuses)),
            warnings=tuple(map(self._warning, status.warnings)),
            logs=tuple(map(self._log, status.logs)),
        )

    def _vertex(self, vertex: Vertex) -> Vertex:
        group = vertex.group and replace(vertex.group, name=self.masked(vertex.group.name))
        shown = self.masked(vertex.name), self.masked(vertex.error), group
        if shown == (vertex.name, vertex.error, vertex.group):
            return vertex
        return replace(vertex, name=shown[0], error=shown[1], group=group)

    def _status(self, status: VertexStatus) -> VertexStatus:
        shown = self.masked(status.id), self.masked(status.name)
        # There are thousands of these.
        return status if shown == (status.id, status.name) else replace(status, id=shown[0], name=shown[1])

    def _warning(self, warning: VertexWarning) -> VertexWarning:
        detail = tuple(map(self.masked, warning.detail))
        return replace(warning, short=self.masked(warning.short), detail=detail, url=self.masked(warning.url))

    def _log(self, log: VertexLog) -> VertexLog:
        if not log.vertex.startswith(PHASE_DIGEST):
            return log
        return replace(log, data=self.masked(log.data.decode(errors="replace")).encode())

    def _start_ticker(self) -> None:
        if self._renderer.period is not None and self._ticker is None and not self._closing.is_set():
            self._ticker = threading.Thread(target=self._tick, args=(self._renderer.period,), daemon=True)
            self._ticker.start()

    def _tick(self, period: float) -> None:
        while not self._closing.wait(period):
            with self._lock:
                if not self._closing.is_set():
                    self._renderer.refresh(self.clock())


def open(  # noqa: A001 - the module's name says what is opened
    mode: Progress,
    stream: TextIO,
    *,
    env: Mapping[str, str],
    description: str = "",
    clock: Clock = time.time,
    hidden: Sequence[str] = (),
) -> Display:
    """Open the display of a build on ``stream``.

    ``description`` names the builder; nothing but what steps print shows the texts ``hidden``.
    InputError if ``mode`` wants a terminal and ``stream`` is none.
    """
    graph = Graph()
    _LOG.debug("display: %s", mode)
    renderer = _renderer(mode, stream, graph, env=env, description=description)
    shown = Display(renderer, graph, clock=clock, hidden=hidden)
    if _LOG.is_on and (put_above := getattr(renderer, "put_above", None)):
        shown.divert_log(put_above)
    return shown


def _renderer(mode: Progress, stream: TextIO, graph: Graph, *, env: Mapping[str, str], description: str) -> Renderer:
    match mode:
        case Progress.AUTO:
            fitting = Progress.TTY if stream.isatty() and env.get("TERM") != "dumb" else Progress.PLAIN
            return _renderer(fitting, stream, graph, env=env, description=description)
        case Progress.TTY:
            if not stream.isatty():
                raise InputError("the output is not a terminal", source="progress=tty", fix="use plain or auto")
            from ci_buildx.progress.terminal import Terminal

            return Terminal(Outlet(stream), graph, env=env, size=partial(_size, stream), description=description)
        case Progress.PLAIN:
            truncate = env.get("PROGRESS_NO_TRUNC") == "0"
            return Plain(Outlet(stream), description=description, truncate=truncate)
        case Progress.GITHUB:
            from ci_buildx.progress.github import Folded

            return Folded(Outlet(stream))
        case Progress.GITLAB:
            from ci_buildx.progress.gitlab import Sectioned

            return Sectioned(Outlet(stream))
        case Progress.RAWJSON:
            from ci_buildx.progress.rawjson import RawJson

            return RawJson(Outlet(stream))
        case Progress.QUIET:
            from ci_buildx.progress.quiet import Quiet

            return Quiet(Outlet(stream))
        case _:
            assert_never(mode)


def _size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of a terminal; 80 and 24 where it does not say (a serial line, a terminal that went away)."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return columns or 80, rows or 24


def _named(status: StatusUpdate, node: str) -> StatusUpdate:
    """The message with the node in the names of its steps."""
    if not node or not status.vertexes:
        return status
    return replace(status, vertexes=tuple(_with_node(vertex, node) for vertex in status.vertexes))


def _with_node(vertex: Vertex, node: str) -> Vertex:
    group = vertex.group and replace(vertex.group, name=prefixed(node, vertex.group.name))
    return replace(vertex, name=prefixed(node, vertex.name), group=group)


def _said(error: BaseException) -> str:
    """What a phase shows of what ended it: one line, no more than the final message says."""
    if isinstance(error, (Interrupted, Stopped)):
        return CANCELED
    return (str(error) or type(error).__name__).splitlines()[0]
