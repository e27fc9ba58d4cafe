"""Removal of a builder: tries everything, raises nothing on the way, reports what is left and why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ci_buildx.builder import labels
from ci_buildx.builder.builder import BuilderLocation, Manifest, Workload
from ci_buildx.builder.lifecycle import ownership, volumes
from ci_buildx.errors import Forbidden, KubeBuilderError, NotFound, TeardownError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, field

_LOG = debug.get_log("builder")
POD_GRACE = 0
"""Grace period of pods in seconds.

Their work is not wanted any more, and a cluster node that is gone would keep its pods, and with them the namespace,
forever. The kubelet still ends the processes in order (0.1 s later on an idle cluster node).
"""

_LOOK_AGAIN = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class TeardownReport:
    """Result of a teardown.

    ``removed`` and ``left`` name objects (``namespace x``), ``notes`` explain why something is left. A namespace counts
    as removed when the API server has accepted its deletion and set its deletionTimestamp; the cluster then does
    everything else. ``kept`` are the volume claims that were to stay.
    """

    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    lasting: bool = False

    def check(self) -> None:
        """Raise TeardownError if anything is left."""
        if self.left:
            why = f": {'; '.join(self.notes)}" if self.notes else ""
            fix = "try again" if self.lasting else "kube-builder reap removes it once it has expired"
            raise TeardownError(f"not removed: {', '.join(self.left)}{why}", left=self.left, fix=fix)


def teardown(
    kube: KubeClient,
    location: BuilderLocation,
    *,
    deadline: float,
    settle: float = 0.0,
    kept_state: Collection[str] | None = (),
    own: bool = False,
) -> TeardownReport:
    """Remove everything of the builder at ``location`` until ``deadline`` (a time.monotonic() value).

    A missing builder is looked up again for ``settle`` seconds, because its creator may have been killed while the
    request was under way. ``kept_state`` names the nodes of a lasting builder whose volumes stay, None for all.
    ``own``: leave a namespace that names another account as its creator. Never raises KubeBuilderError.
    """
    work = _Teardown(kube, location, kept_state, own)
    # A call to an unreachable API server takes longer than users wait for a cancelled job.
    thread = threading.Thread(target=work.run, args=(settle, deadline), daemon=True, name="teardown")
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0.0))
    report = work.report(finished=not thread.is_alive())
    _LOG.debug("removed: %s; left: %s; notes: %s", report.removed, report.left, report.notes)
    return report


def explain_stuck(namespace: Mapping[str, Any]) -> str:
    """Return why a namespace that is being deleted still exists: its conditions and finalizers, "" if unknown.

    Conditions: k8s.io/api v0.34.2, ``core/v1/types.go``, NamespaceConditionType.
    """
    conditions = (namespace.get("status") or {}).get("conditions") or ()
    telling = [
        condition.get("message") or condition.get("reason", "")
        for condition in conditions
        if _describe_holder(condition)
    ]
    # Those of the spec but the namespace controller's own hold it just as long (core/v1 NamespaceSpec).
    inner = (namespace.get("spec") or {}).get("finalizers") or ()
    finalizers = [*(namespace["metadata"].get("finalizers") or ()), *(each for each in inner if each != "kubernetes")]
    if finalizers:
        telling.append(f"finalizers {', '.join(finalizers)}")
    return "; ".join(text for text in telling if text)


@dataclass(slots=True)
class _Teardown:
    """One teardown under way; its thread writes, the waiting caller reads."""

    kube: KubeClient
    location: BuilderLocation
    kept_state: Collection[str] | None = ()
    own: bool = False
    closed: Manifest | None = None
    """The namespace, as long as its creator may have been killed before it bound its role there."""
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kept: tuple[str, ...] = ()

    def run(self, settle: float, deadline: float) -> None:
        """Remove workloads and pods first, then the objects around them."""
        if self.location.lasting:
            self._remove_lasting()
        elif self.location.exclusive:
            self._remove_namespace(settle, deadline)
        else:
            self._remove_objects(min(time.monotonic() + settle, deadline))

    def report(self, *, finished: bool) -> TeardownReport:
        """Return the result so far."""
        left, notes = list(self.left), list(self.notes)
        if not finished:
            left.append(self._format_report())
            notes.append("the API server did not answer in time")
        return TeardownReport(
            removed=tuple(self.removed),
            left=tuple(dict.fromkeys(left)),
            notes=tuple(notes),
            kept=self.kept,
            lasting=self.location.lasting,
        )

    def _remove_namespace(self, settle: float, deadline: float) -> None:
        try:
            namespace = self._find_namespace(min(time.monotonic() + settle, deadline))
        except NotFound:
            return
        except KubeBuilderError as failure:
            # Deleting may be allowed even if reading is not, but only a namespace known to be the builder's is deleted.
            self._keep(self._format_report(), str(failure))
            return
        if foreign := self._is_foreign(namespace):
            self._keep(self._format_report(), foreign)
            return
        self.closed = namespace if labels.read_creator(namespace) and not _is_going(namespace) else None
        self._remove_compute()
        self._attempt(self._format_report(), lambda: self._delete_namespace(namespace))
        if self._format_report() not in self.left:
            # The namespace's deletion includes its contents: a reaper needs no right to delete pods.
            self.left = [what for what in self.left if what not in self.forbidden]

    def _is_foreign(self, namespace: Manifest) -> str:
        """Return why a namespace is not provably this builder's, "" if it is."""
        if not labels.belongs_to(namespace, self.location.name):
            return f"it is not marked as builder {self.location.name}"
        if self.location.nonce and labels.read_nonce(namespace) != self.location.nonce:
            return f"this run did not create it{ownership.describe_creator(namespace)}"
        if self.own and (creator := labels.read_creator(namespace)):
            from ci_buildx.builder.rbac import admission_policies

            try:
                user = admission_policies.ask_user_name(self.kube)
            except KubeBuilderError as failure:
                return f"cannot determine whether this account created it: {failure}"
            if creator != user:
                return f"this account ({user}) did not create it{ownership.describe_creator(namespace)}"
        return ""

    def _find_namespace(self, until: float) -> Manifest:
        while True:
            try:
                return self.kube.get(self.location.namespace_path)
            except NotFound:
                if time.monotonic() >= until:
                    raise
                time.sleep(_LOOK_AGAIN)

    def _delete_namespace(self, seen: Manifest) -> None:
        # Exactly the one whose labels were read, not another that may have taken its name.
        options = {"preconditions": {"uid": seen["metadata"].get("uid", "")}}
        try:
            answer = self.kube.delete(self.location.namespace_path, options=options)
        except Forbidden:
            # The right to delete the namespace is granted inside it, and is among the first objects to go if its
            # deletion was requested before.
            answer = self.kube.get(self.location.namespace_path)
            if not _is_going(answer):
                raise
        # A namespace whose deletion was requested earlier is stuck. The answer is a Status once it is gone.
        if answer.get("kind") == "Namespace" and (cause := explain_stuck(answer)):
            self.notes.append(f"{self._format_report()} is being deleted: {cause}")

    def _remove_objects(self, until: float) -> None:
        self._remove_compute()
        while time.monotonic() < until and not self.left:
            time.sleep(_LOOK_AGAIN)
            if self._has_any(self.location.jobs_path, self.location.selector):
                self._remove_compute()
        # They are deleted with the Jobs that own them; a builder killed during its creation may lack the Jobs.
        for plural in ("secrets", "configmaps"):
            self._delete_collection(self.location.make_core_path(plural), plural)

    def _remove_lasting(self) -> None:
        """Remove workloads, then volumes, and the Secret last: it identifies the builder if something is left."""
        location = self.location
        for kind in (Workload.DEPLOYMENT, Workload.STATEFUL_SET):
            # An account that cannot delete a kind has not created one, either.
            may_lack = kind is Workload.STATEFUL_SET
            self._delete_collection(
                location.make_workloads_path(kind), kind.value, may_lack=may_lack, propagationPolicy="Background"
            )
        # A daemon whose volume stays must shut down cleanly.
        orderly = self.kept_state is None or bool(self.kept_state)
        self._delete_collection(
            location.make_core_path("pods"), "pods", gracePeriodSeconds=None if orderly else POD_GRACE
        )
        if self.kept_state is not None:
            others = f",{labels.NODE} notin ({','.join(sorted(self.kept_state))})" if self.kept_state else ""
            claims = volumes.PLURAL
            self._delete_collection(
                location.make_core_path(claims), claims, may_lack=True, selector=f"{location.selector}{others}"
            )
        if orderly:
            self._look_for_kept()
        self._delete_collection(location.policies_path, "networkpolicies", may_lack=True)
        for plural in ("configmaps", *(() if self.left else ("secrets",))):
            self._delete_collection(location.make_core_path(plural), plural)

    def _look_for_kept(self) -> None:
        try:
            self.kept = volumes.list_retained_claims(self.kube, self.location)
        except KubeBuilderError as failure:
            self.notes.append(str(failure))

    def _remove_compute(self) -> None:
        """Remove Jobs first; otherwise they would create new pods."""
        self._delete_collection(self.location.jobs_path, "jobs", propagationPolicy="Background")
        self._delete_collection(self.location.make_core_path("pods"), "pods", gracePeriodSeconds=POD_GRACE)

    def _delete_collection(
        self, path: str, plural: str, *, selector: str = "", may_lack: bool = False, **options: Any
    ) -> None:
        """Delete the objects that match ``selector``, by default all of the builder's.

        ``may_lack``: being forbidden to delete them matters only if some exist.
        """
        what = f"{plural} of builder {self.location.name} in namespace {self.location.namespace}"
        given = {name: value for name, value in options.items() if value is not None}
        chosen = selector or self.location.selector

        def act() -> None:
            try:
                self.kube.delete(path, options=given, labelSelector=chosen)
            except Forbidden:
                if not may_lack or self._has_any(path, chosen):
                    raise

        self._attempt(what, act)

    def _has_any(self, path: str, selector: str) -> bool:
        try:
            return bool(self.kube.list(path, labelSelector=selector)["items"])
        except KubeBuilderError:
            return False

    def _attempt(self, what: str, act: Callable[[], object]) -> None:
        try:
            self._act(act)
        except NotFound:
            return
        except KubeBuilderError as failure:
            if isinstance(failure, Forbidden):
                self.forbidden.append(what)
            self._keep(what, str(failure))
        else:
            self.removed.append(what)

    def _act(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Forbidden:
            namespace, self.closed = self.closed, None
            if namespace is None:
                raise
            from ci_buildx.builder.rbac import admission_policies

            admission_policies.bind_own_role(self.kube, namespace)
            admission_policies.retry_while_forbidden(act)

    def _keep(self, what: str, why: str) -> None:
        self.left.append(what)
        self.notes.append(why)

    def _format_report(self) -> str:
        if self.location.exclusive:
            return f"namespace {self.location.namespace}"
        return f"builder {self.location.name} in namespace {self.location.namespace}"


def _is_going(namespace: Manifest) -> bool:
    return "deletionTimestamp" in namespace["metadata"]


def _describe_holder(condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == "True"
