"""The `logs` command: the output of each pod's buildkitd."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from ci_buildx.builder.builder import BuilderLocation
from ci_buildx.builder.labels import NODE
from ci_buildx.builder.lifecycle import records
from ci_buildx.builder.pods import CONTAINER, is_over
from ci_buildx.errors import InputError
from ci_buildx.kube.client import KubeClient, make_kube_client
from ci_buildx.manage.target import BuilderTarget
from ci_buildx.model.record import dataclass
from ci_buildx.runtime.signals import SignalHandler, run_all


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExtract:
    """The part of the logs to read: pods of ``node`` ("" for all), the last ``tail`` lines of ``since`` seconds.

    ``follow`` continues until the container ends; ``previous`` selects the container that ended before this one.
    """

    node: str = ""
    tail: int | None = None
    since: int | None = None
    follow: bool = False
    previous: bool = False
    timestamps: bool = False


Tell = Callable[[str, str], None]


def run_logs(target: BuilderTarget, extract: LogExtract, *, env: Mapping[str, str], tell: Tell) -> None:
    """Call ``tell`` with the pod's name ("" if there is only one pod) and each line, from several threads.

    Raises InputError if there is no pod, KubeError, Interrupted.
    """
    with SignalHandler() as interrupts, make_kube_client(target.cluster, env=env) as kube:
        record = records.find_builder(kube, target.name, target.namespace)
        if extract.node:
            record.find_node(extract.node)
        pods = _list_pods(kube, record.location, extract.node)
        if not pods:
            fix = f"start it with kube-builder inspect --bootstrap {record.name}"
            raise InputError(f"builder {record.name!r} has no pods", fix=fix)
        readers = [
            _LogReader(kube=kube, location=record.location, pod=pod, extract=extract, stop=interrupts.stop)
            for pod in pods
        ]
        several = len(pods) > 1
        works = [lambda one=one: one.read(tell, one.pod if several else "") for one in readers]
        # Following has no end, so the first failure ends the other readers; else its error would never be reported.
        stop = interrupts.stop if extract.follow else threading.Event()
        interrupts.run(lambda: run_all(works, stop=stop), settle=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LogReader:
    kube: KubeClient
    location: BuilderLocation
    pod: str
    extract: LogExtract
    stop: threading.Event

    def read(self, tell: Tell, name: str) -> None:
        for line in split_lines(self._read_chunks()):
            tell(name, line)

    def _read_chunks(self) -> Iterator[bytes]:
        wanted = self.extract
        return self.kube.open_stream(
            f"{self.location.make_core_path('pods')}/{self.pod}/log",
            stop=self.stop,
            container=CONTAINER,
            follow=wanted.follow or None,
            previous=wanted.previous or None,
            timestamps=wanted.timestamps or None,
            tailLines=wanted.tail,
            sinceSeconds=wanted.since,
        )


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a text that arrives in chunks."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def _list_pods(kube: KubeClient, location: BuilderLocation, node: str) -> list[str]:
    chosen = f"{location.selector},{NODE}={node}" if node else location.selector
    listed = kube.list(location.make_core_path("pods"), labelSelector=chosen)["items"]
    return sorted(pod["metadata"]["name"] for pod in listed if not is_over(pod))
