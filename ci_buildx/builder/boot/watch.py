"""Watches a builder's pods while they start and as long as they are used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from ci_buildx.builder import pods as builder_pods
from ci_buildx.builder.boot.diagnose import diagnose
from ci_buildx.builder.boot.observation import Observation, PodCase, PodStage, Verdict
from ci_buildx.builder.builder import Builder
from ci_buildx.builder.labels import NODE
from ci_buildx.builder.plan import NodePlan
from ci_buildx.builder.pods import Object, PodView, describe_pod, is_terminating, read_pod
from ci_buildx.errors import BootError, KubeError, Stopped
from ci_buildx.kube.client import KubeClient
from ci_buildx.kube.watch import ChangeKind
from ci_buildx.model import debug

T = TypeVar("T")

_LOG = debug.get_log("builder")
_TICK = 0.25
"""Seconds between two checks of conditions that depend on time alone."""
_PATIENCE = 1.0
"""Seconds after which a boot is worth diagnosing; before that, reading events costs calls and reveals nothing."""
_LONGEST_WATCH = 86400.0
_UNREACHED = 60.0
"""Seconds after which a ready pod that no transport reaches is given up; a busy cluster node answers late."""
_NOTICEABLE = 10.0
"""Seconds after which that wait is reported."""
_JOB_GAP = 2.0
"""Seconds between two reads of a Job that is to replace a lost pod."""
_NODE_TIME = 900.0
"""Seconds in which an autoscaler gets a cluster node up.

After that, cluster-autoscaler (its flag --max-node-provision-time) and Karpenter (its registration TTL) give up, too.
"""


class Boot:
    """Context manager that watches the builder's pods and waits for them.

    ``deadline`` (a time.monotonic() value) bounds the waits. While a cluster node is being added for a pod, the time
    does not count, and ``deadline`` moves.

    ``fresh``: the builder was just created, so its pods need not be listed before the watch. ``outdated`` pods are
    about to be replaced and do not count. ``explain`` is called with what is waited for, whenever that changes.
    ``stop`` ends the waits early, with Stopped. Every method may be called from any thread.
    """

    def __init__(
        self,
        kube: KubeClient,
        builder: Builder,
        *,
        deadline: float,
        explain: Callable[[str], None] = lambda _: None,
        stop: threading.Event | None = None,
        fresh: bool = False,
        outdated: Collection[str] = (),
    ) -> None:
        self._kube = kube
        self._builder = builder
        self.deadline = deadline
        # "0" makes the watch itself report existing pods (Kubernetes' API conventions: get state and start at any).
        self._since = "0" if fresh else ""
        self._outdated = outdated
        self._explain = explain
        self._stop = stop or threading.Event()
        self._end = threading.Event()
        self._changed = threading.Condition()
        self._seen = Observation()
        self._listed = threading.Event()
        self._started = time.monotonic()
        self._patience = deadline - self._started
        self._diagnosing = False
        self._detecting = False
        self._broken: KubeError | None = None
        self._told: dict[str, str] = {}
        self._explain_again: dict[str, Callable[[str], None]] = {}
        self._up: set[str] = set()

    def __enter__(self) -> Self:
        self._run(self._follow_pods, "pods")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The threads notice within a tenth of a second; joining them is not necessary.
        self._end.set()

    def list_pods(self, node: NodePlan) -> tuple[PodView, ...]:
        """Return the current pods of a node, sorted by name, including those that are terminating."""
        with self._changed:
            return self._seen.list_pod_views(node.name)

    def find_pod(self, name: str) -> PodView | None:
        """Return the current state of one pod, None if it is gone."""
        with self._changed:
            found = self._seen.pods.get(name)
            return read_pod(found) if found is not None else None

    def wait_until_scheduled(self, node: NodePlan) -> PodView:
        """Wait until a pod of the node is scheduled; from then on, a tunnel to it can be tried.

        Its address comes up to a second later, see :meth:`find_pod`. Raises BootError with Kubernetes' reason.
        """
        return self._wait_until(
            node, lambda pods: next((pod for pod in pods if pod.host and not pod.terminating), None)
        )

    def wait_until_ready(self, node: NodePlan) -> tuple[PodView, ...]:
        """Wait until all pods of the node are ready. Raises BootError with Kubernetes' reason."""

        def select_ready(pods: tuple[PodView, ...]) -> tuple[PodView, ...] | None:
            up = tuple(pod for pod in pods if pod.ready and not pod.terminating)
            return up if len(up) >= node.replicas else None

        return self._wait_until(node, select_ready)

    def wait_until_any_ready(self, node: NodePlan) -> tuple[PodView, ...]:
        """Wait until a pod of the node is ready and stays; return all such pods.

        Raises BootError with Kubernetes' reason.
        """

        def select_ready(pods: tuple[PodView, ...]) -> tuple[PodView, ...] | None:
            return tuple(pod for pod in pods if pod.ready and not pod.terminating) or None

        return self._wait_until(node, select_ready)

    def wait_until_up(self, node: NodePlan, name: str) -> PodView:
        """Wait until one pod of the node is ready, regardless of the others.

        Raises BootError with Kubernetes' reason.
        """

        def is_up(pods: tuple[PodView, ...]) -> PodView | None:
            return next((pod for pod in pods if pod.name == name and pod.ready), None)

        return self._wait_until(node, is_up, lambda: self.judge_pod(node, name))

    def watch(self, node: NodePlan, name: str, over: threading.Event) -> None:
        """Watch one pod of the node until ``over`` is set, at most a minute after it is ready.

        Raises BootError or PodLost, with Kubernetes' reason, as soon as the pod cannot start or ends.
        """
        self.wait_until_up(node, name)
        start = time.monotonic()
        while not over.is_set() and (waited := time.monotonic() - start) < _UNREACHED:
            if waited >= _NOTICEABLE:
                self._tell(node, f"pod {name} is ready, but no transport has reached buildkitd yet")
            error = self.judge_pod(node, name).error
            if error is not None:
                raise error
            with self._changed:
                self._changed.wait(_TICK)

    def wait_until_electable(self, node: NodePlan) -> tuple[PodView, ...]:
        """Wait until a lasting builder has pods to choose from, see :func:`balance.select_electable`.

        Failing pods are left out. Raises BootError, with Kubernetes' reason, if all pods fail.
        """

        def select_sound(pods: tuple[PodView, ...]) -> tuple[PodView, ...] | None:
            sound = [pod for pod in pods if self.judge_pod(node, pod.name).error is None]
            enough = node.scaling.least if node.scaling else None
            found = builder_pods.select_electable(sound, self._read_clock(), enough=enough)
            return (self._listed.is_set() and found) or None

        return self._wait_until(node, select_sound, lambda: self._choose_best(node))

    def record_answer(self, pod: str) -> None:
        """Record that buildkitd in ``pod`` has answered, so that its end is a loss, not a failure to start.

        Its node is no longer waited for, so ``explain`` is not called for it any more.
        """
        with self._changed:
            _LOG.debug("pod %s: buildkitd has answered", pod)
            self._seen.note_answer(pod)
            if (known := self._seen.pods.get(pod)) is not None:
                self._up.add(read_pod(known).node)

    def begin_again(self, node: NodePlan, pod: str, explain: Callable[[str], None]) -> None:
        """Prepare for another pod of the node after a build in ``pod`` was lost; "" if a pod was lost while it booted.

        The node's pods that have failed no longer count, and neither does ``pod``, unless the workload restarts or
        replaces pods by itself. The next wait has as much time as the first, and ``explain`` is called with what it
        waits for.
        """
        replaced = not self._builder.location.lasting
        with self._changed:
            for case in self._seen.list_cases(node.name, self._builder.name_workload(node), self._read_clock()):
                used = case.answered and case.subject == f"pod {pod}"
                if case.pod is not None and (used or diagnose(case).error is not None):
                    self._seen.note_loss(case.pod, replaced=replaced)
            self._seen.retried.add(node.name)
            self._up.discard(node.name)
            self._told.pop(node.name, None)
            self._explain_again[node.name] = explain
            self._started = time.monotonic()
        self.extend_deadline()
        if replaced:
            self._run(partial(self._follow_job, node), "job")

    def extend_deadline(self) -> None:
        """Give the next wait as much time as the first: a build may have run for long since."""
        with self._changed:
            self.deadline = max(self.deadline, time.monotonic() + self._patience)

    def judge_pod(self, node: NodePlan, pod: str = "") -> Verdict:
        """Return the worst current verdict on ``pod``, or on all pods of the node; makes no API call."""
        cases = [case for case in self._list_cases(node) if case.pod and case.pod["metadata"]["name"] == pod]
        verdicts = [diagnose(case) for case in (cases if pod else self._select_standing(node))]
        for stage in (PodStage.FAILED, PodStage.WAITING):
            for verdict in verdicts:
                if verdict.stage is stage:
                    return verdict
        return Verdict(PodStage.READY) if verdicts else Verdict(PodStage.WAITING, f"pod {pod} is unknown")

    def _choose_best(self, node: NodePlan) -> Verdict:
        """Return the best verdict on a node whose pods are replaced when they go; vanished pods do not count."""
        verdicts = [diagnose(case) for case in self._select_standing(node) if not case.vanished]
        hopeful = [verdict for verdict in verdicts if verdict.error is None]
        return next(iter(hopeful or verdicts), Verdict(PodStage.WAITING, f"node {node.name} has no pod"))

    def _select_standing(self, node: NodePlan) -> list[PodCase]:
        """Return the cases that count for the whole node.

        A lasting builder's workload replaces pods that go, so those do not count. If the workload has not created all
        replicas, its refusals explain why.
        """
        cases = [case for case in self._list_cases(node) if case.pod is None or not self._seen.is_lost(case.pod)]
        if not cases:
            return self._list_unmade(node)
        if cases[0].pod is None:
            return cases
        lasting = self._builder.location.lasting
        staying = (
            [one for one in cases if one.pod and not (one.vanished or is_terminating(one.pod))] if lasting else cases
        )
        if not staying:
            return self._list_unmade(node)
        if len(staying) >= node.replicas:
            return staying
        # A refusal is obsolete if a newer pod was admitted.
        newest = max(str(one.pod["metadata"].get("creationTimestamp") or "") for one in staying if one.pod)
        return [*staying, *(one for one in self._list_unmade(node) if one.was_refused_since(newest))]

    def _list_unmade(self, node: NodePlan) -> list[PodCase]:
        """Return the case of pods that the workload has not created."""
        with self._changed:
            return [self._seen.make_unmade_case(node.name, self._builder.name_workload(node), self._read_clock())]

    def _list_cases(self, node: NodePlan) -> list[PodCase]:
        with self._changed:
            return self._seen.list_cases(node.name, self._builder.name_workload(node), self._read_clock())

    def _wait_until(
        self,
        node: NodePlan,
        goal: Callable[[tuple[PodView, ...]], T | None],
        verdict: Callable[[], Verdict] | None = None,
    ) -> T:
        judged = verdict or partial(self.judge_pod, node)
        while True:
            reached = goal(self.list_pods(node))
            if reached is not None:
                return reached
            self._check(node, judged())
            with self._changed:
                if goal(self._seen.list_pod_views(node.name)) is None:
                    self._changed.wait(_TICK)

    def _check(self, node: NodePlan, verdict: Verdict) -> None:
        """Raise if waiting is pointless; otherwise report what the node waits for."""
        if self._broken is not None:
            raise self._broken
        if verdict.error is not None:
            raise verdict.error
        if self._stop.is_set():
            raise Stopped
        now = time.monotonic()
        if verdict.scaling and now < self._started + _NODE_TIME:
            self.deadline = max(self.deadline, now + self._patience)
        if now >= self.deadline:
            raise BootError(f"node {node.name}", "Timeout", verdict.reason, fix=verdict.fix)
        if now - self._started >= _PATIENCE:
            self._diagnose()
            self._tell(node, verdict.reason)

    def _tell(self, node: NodePlan, reason: str) -> None:
        """Report what a node waits for, once; never after it has answered, not even concurrently."""
        with self._changed:
            if reason and node.name not in self._up and self._told.get(node.name) != reason:
                self._told[node.name] = reason
                _LOG.debug("node %s waits: %s", node.name, reason)
                self._explain_again.get(node.name, self._explain)(reason)

    def _diagnose(self) -> None:
        with self._changed:
            first, self._diagnosing = not self._diagnosing, True
            unplaced = not self._detecting and self._seen.has_unplaced()
            self._detecting = self._detecting or unplaced
        if first:
            self._run(self._follow_events, "events")
        if unplaced:
            self._run(self._detect_autoscaler, "autoscaler")

    def _follow_pods(self) -> None:
        location = self._builder.location
        try:
            for event in self._kube.watch(
                location.make_core_path("pods"),
                resource_version=self._since,
                deadline=self._started + _LONGEST_WATCH,
                stop=self._end,
                listed=self._listed,
                labelSelector=location.selector,
            ):
                if event.object["metadata"]["name"] in self._outdated:
                    continue
                gone = event.type is ChangeKind.DELETED
                if _LOG.is_on:
                    _LOG.debug("%s", describe_pod(event.object, gone=gone))
                job = self._read_job(event.object) if gone or is_terminating(event.object) else None
                with self._changed:
                    self._seen.note_pod(event.object, job, gone=gone)
                    self._changed.notify_all()
        except KubeError as failure:
            with self._changed:
                self._broken = failure
                self._changed.notify_all()

    def _follow_events(self) -> None:
        try:
            for event in self._kube.watch(
                self._builder.location.make_core_path("events"),
                resource_version="0",
                deadline=self._started + _LONGEST_WATCH,
                stop=self._end,
            ):
                if event.type is not ChangeKind.DELETED:
                    if _LOG.is_on:
                        fields = (event.object.get(name, "") for name in ("type", "reason", "message"))
                        _LOG.debug("event: %s %s: %s", *fields)
                    with self._changed:
                        self._seen.note_event(event.object)
                        self._changed.notify_all()
        except KubeError:
            # Without the right to read events, the pods' own status must suffice.
            return

    def _detect_autoscaler(self) -> None:
        from ci_buildx.builder.boot import pending

        found = pending.detect_autoscaler(self._kube)
        with self._changed:
            self._seen.autoscaler = found
            self._changed.notify_all()

    def _read_job(self, pod: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Object | None:
        """Return the Job of a pod that ends, which shows whether its deadline has passed; None without a deadline.

        Also None if the Job cannot be read.
        """
        node = (pod["metadata"].get("labels") or {}).get(NODE, "")
        return None if self._builder.location.lasting else self._get_job(node)

    def _get_job(self, node: str) -> Object | None:
        from ci_buildx.builder.boot import jobs  # most pods are not lost

        try:
            return jobs.read_job(self._kube, self._builder.location, node)
        except KubeError as failure:
            _LOG.debug("the Job of node %s cannot be read: %s", node, failure)
            return None

    def _follow_job(self, node: NodePlan) -> None:
        """Read the Job of a lost pod until it has another one: a Job that has ended, or is deleted, starts none."""
        while not (self._end.wait(_JOB_GAP) or self.list_pods(node)):
            if (job := self._get_job(node.name)) is not None:
                with self._changed:
                    self._seen.jobs[node.name] = job
                    self._changed.notify_all()

    def _read_clock(self) -> float:
        """Return the cluster's clock, to the second, from its last answer; events and conditions carry its time."""
        return self._seen.read_clock(self._kube.server_time)

    def _run(self, work: Callable[[], None], name: str) -> None:
        threading.Thread(target=work, daemon=True, name=f"boot-{name}").start()
