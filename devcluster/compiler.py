"""Compiles recipes: fetches modules, runs the Go command, shows the progress.

All modules are fetched at the same time. Recipes are compiled in their order; the next begins when the one before has
too few packages left for all cores. Killed at any time, a later run goes on: Go's cache has each compiled package.
"""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from devcluster import programs, toolchain
from devcluster.compile_plan import LISTING, CompilePlan, CompileProgress, parse_listing
from devcluster.errors import DevclusterError
from devcluster.programs import Recipe

FETCHES_AT_ONCE = "8"
PAUSES = (2.0, 10.0)
"""Seconds before each repetition of a failed fetch; what was fetched before is kept."""
MEMORY_SHARE = 8
"""A process of the toolchain may use this fraction of the memory before it collects garbage."""
LINES = 12
"""Lines of a compiler that are shown if it fails."""
PATIENCE = 10.0
"""Seconds that an interrupted Go command may take to clean up."""
REDRAW, REPEAT = 1.0, 30.0
"""Seconds between two progress lines on a terminal, and in a log."""
FETCHING = re.compile(r"\bGet \"|\b(dial tcp|verifying \S*(@|module)|reading https?://|proxyconnect)|no such host")
LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileEvent:
    """News of one recipe: its plan, a package that is being compiled, its end (all others empty), or an error.

    Without a recipe, it is about the work beside the compilation: its end or its error.
    """

    recipe: str = ""
    plan: CompilePlan | None = None
    package: str = ""
    error: str = ""


class ProgressLine:
    """A line of progress: redrawn on a terminal, repeated now and then in a log."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.interval = REDRAW if stream.isatty() else REPEAT
        self._next = time.monotonic() + self.interval

    def show(self, text: str) -> None:
        """Show the progress if it is time for that."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.interval
        start, end = ("\r\033[K", "") if self.stream.isatty() else ("", "\n")
        print(f"{start}programs: {text}", end=end, file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        start = "\r\033[K" if self.stream.isatty() else ""
        print(f"{start}{text}", file=self.stream, flush=True)


def compile_recipes(
    recipes: Sequence[Recipe], beside: Sequence[Callable[[], object]] = (), stream: TextIO | None = None
) -> None:
    """Compile recipes into their folders of the cache, each kept as soon as it is whole.

    ``beside`` is work that is done at the same time, and before any recipe that needs C. Shows the progress on
    ``stream``, by default standard error. Raises DevclusterError with one line if that work fails or if modules cannot
    be fetched or do not compile, after the compiler's own lines.
    """
    Compilation(recipes, beside, stream or sys.stderr).run()


class Compilation:
    """One run over some recipes. Threads wait for the Go command and send events; only `run` decides and shows."""

    def __init__(self, recipes: Sequence[Recipe], beside: Sequence[Callable[[], object]], stream: TextIO) -> None:
        self.line = ProgressLine(stream)
        self.beside = list(beside)
        self.waiting = list(recipes)
        self.running: dict[str, float] = {}
        self.progress = CompileProgress(began=time.monotonic(), expected=len(recipes))
        self.events: queue.Queue[CompileEvent] = queue.Queue()
        self.processes: set[subprocess.Popen[str]] = set()

    def run(self) -> None:
        """Work until all recipes are compiled. Raises DevclusterError."""
        if self.waiting:
            toolchain.go()
            names = ", ".join(recipe.name for recipe in self.waiting)
            self.line.say(f"compiling {names}: several minutes, once; interrupted, it goes on from where it was")
        self._start_thread(self._work_beside)
        for recipe in self.waiting:
            self._start_thread(self._plan, recipe)
        try:
            while self.waiting or self.running or self.beside:
                self._start_next()
                with contextlib.suppress(queue.Empty):
                    self._handle(self.events.get(timeout=self.line.interval))
                if self.progress.expected:
                    self.line.show(self.progress.describe(time.monotonic()))
        finally:
            self._stop()

    def _start_next(self) -> None:
        """Start the first waiting recipe that has a plan, unless those that run keep all cores busy."""
        if any(not self.progress.recipes[name].is_ending for name in self.running):
            return
        for recipe in self.waiting:
            if recipe.name in self.progress.recipes and not (recipe.cgo and self.beside):
                self.waiting.remove(recipe)
                self.running[recipe.name] = time.monotonic()
                self._start_thread(self._compile, recipe)
                return

    def _handle(self, event: CompileEvent) -> None:
        name = event.recipe
        if event.error:
            raise DevclusterError(event.error)
        if not name:
            self.beside.clear()
        elif event.plan:
            self.progress.add_plan(event.plan)
            if len(self.progress.recipes) == self.progress.expected:
                names = ", ".join(self.progress.recipes)
                self.line.say(f"fetched the modules of {names} in {time.monotonic() - self.progress.began:.0f} s")
        elif event.package:
            self.progress.start_package(name, event.package)
        else:
            self.progress.finish(name)
            self.line.say(f"built {name} in {time.monotonic() - self.running.pop(name):.0f} s")

    def _start_thread(self, work: Callable[..., CompileEvent], *recipes: Recipe) -> None:
        def run() -> None:
            try:
                self.events.put(work(*recipes))
            except (DevclusterError, OSError, ValueError, subprocess.CalledProcessError) as error:
                self.events.put(CompileEvent(error=str(error)))

        threading.Thread(target=run, name=work.__name__, daemon=True).start()

    def _work_beside(self) -> CompileEvent:
        for work in list(self.beside):
            work()
        return CompileEvent()

    def _plan(self, recipe: Recipe) -> CompileEvent:
        """Fetch a recipe's modules and list its packages."""
        for pause in (*PAUSES, None):
            answer = self._list_packages(recipe)
            if not answer.returncode:
                plan = parse_listing(recipe.name, answer.stdout, lambda file: Path(file).stat().st_size)
                return CompileEvent(recipe=recipe.name, plan=plan)
            if pause is None or not FETCHING.search(answer.stderr):
                break
            time.sleep(pause)
        raise DevclusterError(explain(recipe.name, answer.stderr.splitlines()))

    def _list_packages(self, recipe: Recipe) -> subprocess.CompletedProcess[str]:
        tags = ["-tags", recipe.tags] if recipe.tags else []
        command: list[str | Path] = [toolchain.go(), "list", "-deps", *tags, "-f", LISTING, *recipe.packages]
        # Modules are fetched by as many threads as Go is allowed to run.
        environment = make_environment(recipe) | {"GOMAXPROCS": FETCHES_AT_ONCE}
        process = self._start(command, recipe, environment)
        stdout, stderr = process.communicate()
        self.processes.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def _compile(self, recipe: Recipe) -> CompileEvent:
        """Compile a recipe into its folder; send an event for each package that is begun."""
        paths = {package.path for package in self.progress.recipes[recipe.name].plan.packages}
        with programs.building(programs.folder(recipe)) as target:
            if target is None:
                return CompileEvent(recipe=recipe.name)
            output = target / recipe.module if recipe.links else f"{target}{os.sep}"
            command: list[str | Path] = [toolchain.go(), "build", "-v", *recipe.flags, "-o", output, *recipe.packages]
            process = self._start(command, recipe, make_environment(recipe))
            others: list[str] = []
            assert process.stderr
            for line in process.stderr:
                if line.strip() in paths:
                    self.events.put(CompileEvent(recipe=recipe.name, package=line.strip()))
                else:
                    others.append(line.rstrip())
            process.communicate()
            self.processes.discard(process)
            if process.returncode:
                raise DevclusterError(explain(recipe.name, others))
            for link in recipe.links:
                (target / link).symlink_to(recipe.module)
        return CompileEvent(recipe=recipe.name)

    def _start(
        self, command: Sequence[str | Path], recipe: Recipe, environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            cwd=programs.MODULES / recipe.module,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.add(process)
        return process

    def _stop(self) -> None:
        """End what still runs, and wait for it: it removes its temporary folders."""
        for process in list(self.processes):
            process.send_signal(signal.SIGINT)
        for process in list(self.processes):
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def make_environment(recipe: Recipe) -> dict[str, str]:
    """Return the environment of the Go command, with the collection of garbage postponed, as memory allows."""
    go = toolchain.go()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    frugal = {"GOGC": "off", "GOMEMLIMIT": f"{memory // MEMORY_SHARE}B"}
    return {
        **frugal,
        **os.environ,
        "CGO_ENABLED": str(int(recipe.cgo)),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "",
        "PATH": f"{go.parent}{os.pathsep}{os.environ['PATH']}",
    }


def explain(recipe: str, lines: Iterable[str]) -> str:
    """Return one line for a failed Go command, after the compiler's own lines if it is not about a fetch.

    Logins in URLs are masked.
    """
    said = [
        LOGIN.sub("***@", line.strip()) for line in lines if line.strip() and not line.startswith("go: downloading")
    ]
    fetches = [line for line in said if FETCHING.search(line)]
    if fetches:
        return (
            f"{recipe}: a Go module cannot be fetched: {fetches[0]}; "
            "check the network and GOPROXY, then run this again: it goes on from here"
        )
    shown = "".join(f"{line}\n" for line in said[-LINES:])
    return f"{shown}{recipe} does not compile, see above" if shown else f"{recipe}: the Go command was ended"
