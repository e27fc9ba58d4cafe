"""The display of a build: combines the status streams of all nodes and our own phases, and renders them in one mode."""

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
from ci_buildx.model.masker import mask_secrets
from ci_buildx.model.record import replace
from ci_buildx.model.status import StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning
from ci_buildx.progress.graph import StepGraph
from ci_buildx.progress.plain import BUILDING, PlainLog
from ci_buildx.progress.renderer import Renderer, RendererUpdate, TextOutlet
from ci_buildx.progress.step import CANCELED, PHASE_DIGEST, add_node_prefix, add_target_prefix
from ci_buildx.settings.values import ProgressMode

if TYPE_CHECKING:
    from ci_buildx.progress.spans import TraceSpan
    from ci_buildx.progress.summary import BuildReport
    from ci_buildx.progress.timeline.timeline import PhaseLap

_LOG = debug.get_log("progress")
Clock = Callable[[], float]
"""A clock that returns seconds since the epoch."""
_REMEMBERED = 1024
"""Maximum number of masked texts to cache: each message repeats the names of its steps and their parts."""


class DisplayPhase:
    """One of our own phases while it runs; leaving the context ends it, with an error if an exception is raised."""

    def __init__(self, display: BuildDisplay, name: str) -> None:
        self._display = display
        self._vertex = Vertex(digest=PHASE_DIGEST + os.urandom(16).hex(), name=name, started=display.clock())
        self._display.update(StatusUpdate(vertexes=(self._vertex,)))

    def add_output(self, text: str) -> None:
        """Add a line of output; ignored once the phase has ended."""
        if self._vertex.completed is not None:
            return
        data = self._display.word(text).encode(errors="replace") + b"\n"
        log = VertexLog(vertex=self._vertex.digest, timestamp=self._display.clock(), data=data)
        self._display.update(StatusUpdate(logs=(log,)))

    def add_status(self, name: str, size: int = 0, *, outcome: str = "") -> None:
        """Add a line about something that has ended, with the bytes that were read; programs also get its outcome."""
        now = self._display.clock()
        status = VertexStatus(
            id=name,
            vertex=self._vertex.digest,
            name=outcome,
            current=size,
            total=size,
            timestamp=now,
            started=now,
            completed=now,
        )
        self._display.update(StatusUpdate(statuses=(status,)))

    def end(self, error: BaseException | None = None) -> None:
        """End the phase, with ``error`` if it failed. Idempotent."""
        if self._vertex.completed is not None:
            return
        text = "" if error is None else self._display.word(_describe_error(error))
        self._vertex = replace(self._vertex, completed=self._display.clock(), error=text)
        self._display.update(StatusUpdate(vertexes=(self._vertex,)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


class BuildDisplay:
    """Displays one build; thread-safe, since several nodes report at once.

    An output stream that breaks silences the display; it never fails the build. ``word`` puts our own texts, which
    name flags, into the words of the user's surface.
    """

    def __init__(
        self,
        renderer: Renderer,
        graph: StepGraph,
        *,
        clock: Clock,
        hidden: Sequence[str] = (),
        wording: Callable[[str], str] = str,
    ) -> None:
        self.clock = clock
        self.word = wording
        self._masked = lru_cache(_REMEMBERED)(partial(mask_secrets, hidden=tuple(hidden)))
        self._renderer = renderer
        self._graph = graph
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._ticker: threading.Thread | None = None
        self._diverts = False

    def update(self, status: StatusUpdate, node: str = "", *, target: str = "") -> None:
        """Process a status message of ``node``; "" for our own phases and in builds with one node.

        ``target`` names the build if several share the display.
        """
        status = self._mask_update(_add_names(status, node, target))
        with self._lock:
            now = self.clock()
            changes = self._graph.update(status, node=f"{target} {node}" if target else node, now=now)
            self._renderer.take(RendererUpdate(status=status, changes=changes, now=now))
            self._start_ticker()

    def mask(self, text: str) -> str:
        """Return ``text`` with secrets masked."""
        return self._masked(text)

    def begin_phase(self, name: str, detail: str = "") -> DisplayPhase:
        """Start one of our own phases, shown as the step ``[internal] name`` with ``detail`` as its first output.

        As a context manager it ends with the block; otherwise call ``end``.
        """
        phase = DisplayPhase(self, f"[internal] {name}")
        if detail:
            phase.add_output(detail)
        return phase

    def note(self, name: str, text: str) -> None:
        """Show a fact as a phase that ends immediately."""
        self.begin_phase(name, text).end()

    def divert_log(self, put_above: Callable[[str], None]) -> None:
        """Route debug log lines through ``put_above`` until the display closes, because it redraws the terminal."""

        def write(line: str) -> None:
            with self._lock:
                put_above(line)

        self._diverts = True
        debug.divert(write)

    def warn(self, text: str) -> None:
        """Show a warning of our own."""
        with self._lock:
            self._renderer.refresh(self.clock())
            self._renderer.warn(self.mask(self.word(text)))

    def forgive(self, node: str, *, target: str = "") -> None:
        """Leave failures on ``node`` so far out of the final report, because the build is retried."""
        with self._lock:
            self._graph.forgive(f"{target} {node}" if target else node)

    def restart(self, node: str, *, target: str = "") -> None:
        """Show a node's running steps as canceled and forget its steps: its build begins again elsewhere."""
        with self._lock:
            now = self.clock()
            changes = self._graph.restart(f"{target} {node}" if target else node, now)
            self._renderer.take(RendererUpdate(status=StatusUpdate(), changes=changes, now=now))

    def cancel(self) -> None:
        """Show all running steps as canceled."""
        with self._lock:
            now = self.clock()
            self._renderer.take(RendererUpdate(status=StatusUpdate(), changes=self._graph.cancel(now), now=now))

    def list_warnings(self) -> tuple[VertexWarning, ...]:
        """Return the findings of build checks so far, without duplicates."""
        with self._lock:
            return tuple(self._graph.warnings)

    def report(self, title: str, *, laps: Iterable[PhaseLap] = (), failure: str = "") -> BuildReport:
        """Return the report of the build so far; ``laps`` are our own phases that were not displayed."""
        from ci_buildx.progress.summary import BuildReport, summarize_graph
        from ci_buildx.progress.timeline import timeline

        with self._lock:
            now = self.clock()
            return BuildReport(
                title=self.mask(title),
                timeline=timeline.read_timeline(self._graph, now=now, laps=laps),
                summary=summarize_graph(self._graph, now=now),
                failure=self.mask(failure),
            )

    def list_spans(self, *, parent: str, phases: str, make_id: Callable[[], str]) -> list[TraceSpan]:
        """Return the spans of all steps so far: vertexes are below the span ``parent``, our phases below ``phases``."""
        from ci_buildx.progress import spans

        with self._lock:
            return list(
                spans.list_step_spans(self._graph, now=self.clock(), parent=parent, phases=phases, make_id=make_id)
            )

    def refresh(self) -> None:
        """Draw now what is due, so that output of another program follows it."""
        with self._lock:
            if not self._closing.is_set():
                self._renderer.refresh(self.clock())

    def close(self, error: BaseException | None = None) -> None:
        """Draw the final state, the output of failed steps and the Dockerfile excerpt; later calls do nothing.

        The final ``ERROR:`` line is not written here.
        """
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            if self._diverts:
                debug.divert(None)
            excerpt = self.mask(error.excerpt) if isinstance(error, SolveError) else ""
            self._renderer.close(self._graph, self.clock(), excerpt=excerpt)
        if self._ticker is not None:
            self._ticker.join()

    def _mask_update(self, status: StatusUpdate) -> StatusUpdate:
        """Return the message with secrets masked, except in the output of build steps.

        Step names contain their sources, and errors repeat what was sent to a daemon. Output of build steps is
        unbounded and therefore not searched; that of our own phases is masked.
        """
        return replace(
            status,
            vertexes=tuple(map(self._mask_vertex, status.vertexes)),
            statuses=tuple(map(self._mask_status, status.statuses)),
            warnings=tuple(map(self._mask_warning, status.warnings)),
            logs=tuple(map(self._log, status.logs)),
        )

    def _mask_vertex(self, vertex: Vertex) -> Vertex:
        group = vertex.group and replace(vertex.group, name=self.mask(vertex.group.name))
        shown = self.mask(vertex.name), self.mask(vertex.error), group
        if shown == (vertex.name, vertex.error, vertex.group):
            return vertex
        return replace(vertex, name=shown[0], error=shown[1], group=group)

    def _mask_status(self, status: VertexStatus) -> VertexStatus:
        shown = self.mask(status.id), self.mask(status.name)
        # Hot path: there are thousands of these, so unchanged ones are not copied.
        return status if shown == (status.id, status.name) else replace(status, id=shown[0], name=shown[1])

    def _mask_warning(self, warning: VertexWarning) -> VertexWarning:
        detail = tuple(map(self.mask, warning.detail))
        return replace(warning, short=self.mask(warning.short), detail=detail, url=self.mask(warning.url))

    def _log(self, log: VertexLog) -> VertexLog:
        if not log.vertex.startswith(PHASE_DIGEST):
            return log
        return replace(log, data=self.mask(log.data.decode(errors="replace")).encode())

    def _start_ticker(self) -> None:
        if self._renderer.period is not None and self._ticker is None and not self._closing.is_set():
            self._ticker = threading.Thread(target=self._tick, args=(self._renderer.period,), daemon=True)
            self._ticker.start()

    def _tick(self, period: float) -> None:
        while not self._closing.wait(period):
            self.refresh()


def open_display(
    mode: ProgressMode,
    stream: TextIO,
    *,
    env: Mapping[str, str],
    clock: Clock = time.time,
    hidden: Sequence[str] = (),
    wording: Callable[[str], str] = str,
    builder: str = "",
    heading: str = BUILDING,
) -> BuildDisplay:
    """Open the display of a build on ``stream``; its first line names the ``builder``, if there is one.

    ``heading`` is that line in a log; it has ``{builder}`` for the name.
    The texts in ``hidden`` are masked everywhere but in the output of build steps. ``wording`` rewords our own texts.
    Raises InputError if ``mode`` needs a terminal and ``stream`` is not one.
    """
    graph = StepGraph()
    _LOG.debug("display: %s", mode)
    line = heading.format(builder=builder) if builder else ""
    renderer = _choose_renderer(mode, stream, graph, env=env, builder=builder, heading=line)
    shown = BuildDisplay(renderer, graph, clock=clock, hidden=hidden, wording=wording)
    if _LOG.is_on and (put_above := getattr(renderer, "put_above", None)):
        shown.divert_log(put_above)
    return shown


def _choose_renderer(
    mode: ProgressMode, stream: TextIO, graph: StepGraph, *, env: Mapping[str, str], builder: str, heading: str
) -> Renderer:
    match mode:
        case ProgressMode.AUTO:
            fitting = ProgressMode.TTY if stream.isatty() and env.get("TERM") != "dumb" else ProgressMode.PLAIN
            return _choose_renderer(fitting, stream, graph, env=env, builder=builder, heading=heading)
        case ProgressMode.TTY:
            if not stream.isatty():
                raise InputError("the output is not a terminal", source="progress=tty", fix="use plain or auto")
            from ci_buildx.progress.terminal import TerminalDisplay

            return TerminalDisplay(
                TextOutlet(stream), graph, env=env, size=partial(_read_size, stream), builder=builder
            )
        case ProgressMode.PLAIN:
            truncate = env.get("PROGRESS_NO_TRUNC") == "0"
            return PlainLog(TextOutlet(stream), truncate=truncate, heading=heading)
        case ProgressMode.GITHUB:
            from ci_buildx.progress.ci_logs import GitHubLog

            return GitHubLog(TextOutlet(stream), heading=heading)
        case ProgressMode.GITLAB:
            from ci_buildx.progress.ci_logs import GitLabLog

            return GitLabLog(TextOutlet(stream), heading=heading)
        case ProgressMode.RAWJSON:
            from ci_buildx.progress.rawjson import RawJsonLog

            return RawJsonLog(TextOutlet(stream))
        case ProgressMode.QUIET | ProgressMode.NONE:
            from ci_buildx.progress.renderer import QuietLog

            return QuietLog(TextOutlet(stream))
        case _:
            assert_never(mode)


def _read_size(stream: TextIO) -> tuple[int, int]:
    """Return columns and rows of a terminal; 80 and 24 if unknown (a serial line, a closed terminal)."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return columns or 80, rows or 24


def _add_names(status: StatusUpdate, node: str, target: str) -> StatusUpdate:
    """Return the message with the names of node and target added to the names of its steps."""
    if not (node or target) or not status.vertexes:
        return status

    def add(name: str) -> str:
        return add_target_prefix(target, add_node_prefix(node, name))

    return replace(status, vertexes=tuple(_rename(vertex, add) for vertex in status.vertexes))


def _rename(vertex: Vertex, add: Callable[[str], str]) -> Vertex:
    group = vertex.group and replace(vertex.group, name=add(vertex.group.name))
    return replace(vertex, name=add(vertex.name), group=group)


def _describe_error(error: BaseException) -> str:
    """Return the one-line error of a phase, no more detailed than the final message."""
    if isinstance(error, (Interrupted, Stopped)):
        return CANCELED
    return (str(error) or type(error).__name__).splitlines()[0]
