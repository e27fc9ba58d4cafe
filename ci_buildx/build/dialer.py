"""Ways to a pod's buildkitd: the transports to try, in their order, and the gRPC channel over the one that answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import TypeVar

from ci_buildx.builder.builder import ADDRESS_LABEL, PORT, SERVER_NAME, ClientKeys
from ci_buildx.builder.pods import CONTAINER, PodView
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit.grpc import load_grpc
from ci_buildx.errors import BuildkitError, TransportError
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.runtime.signals import start_thread
from ci_buildx.settings.values import TransportChoice
from ci_buildx.transport import race as transport_race
from ci_buildx.transport.race import AttemptSchedule, PodEndpoint, PodProgress, TransportCandidate, TransportWinner

T = TypeVar("T")

_LOG = debug.get_log("build")
HEAD_START = 0.1
"""Seconds between the start of a transport and that of the next slower one."""
CHANGE_TIME = 0.1
"""Seconds for the pod's own address to accept TCP after a tunnel has won; its kernel accepts even under load."""
_SECOND_ANSWER_TIME = 2.0
"""Seconds for the first answer over that connection."""
_BOOT_TIME = 3.0
"""Seconds in which a pod is usually up."""
_ALL_WAYS = "run kube-builder doctor, which tries each transport and reports what it needs"
_OTHER_WAYS = "omit --transport to try all of them"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodDialer:
    """Settings for reaching a pod.

    ``chosen`` is the user's transport, AUTO to race all. ``known`` won an earlier race, "" if there was none.
    """

    kube: KubeClient
    keys: ClientKeys
    chosen: TransportChoice = TransportChoice.AUTO
    known: str = ""

    def list_candidates(self, pod: PodView, look: Callable[[], PodView | None]) -> list[TransportCandidate]:
        """Return the transports to try, in their starting order. ``look`` returns the pod's current state."""

        def find_address() -> transport_race.PodAddress:
            now = look() or pod
            return transport_race.PodAddress(
                namespace=pod.namespace, name=pod.name, ip=now.ip, container=CONTAINER, port=PORT
            )

        def read_stage() -> PodProgress:
            now = look() or pod
            return PodProgress.READY if now.ready else PodProgress.RUNNING if now.running else PodProgress.UNKNOWN

        # Imported lazily: only tunnels need these modules.
        def forward() -> AbstractContextManager[PodEndpoint]:
            from ci_buildx.transport import tunnel

            forwards.take_turn()
            return tunnel.open_port_forward(self.kube, find_address())

        def enter() -> AbstractContextManager[PodEndpoint]:
            from ci_buildx.transport import tunnel

            execs.take_turn()
            return tunnel.open_exec(self.kube, find_address())

        # Each exec attempt starts a process in the pod, which would slow down its boot.
        execs_early = transport_race.EARLY if self.chosen is TransportChoice.EXEC else None
        forwards, execs = AttemptSchedule(read_stage), AttemptSchedule(read_stage, blind=None, early=execs_early)
        everything = (
            TransportCandidate(TransportChoice.DIRECT, lambda: transport_race.open_direct(find_address())),
            TransportCandidate(TransportChoice.PORT_FORWARD, forward, HEAD_START),
            TransportCandidate(TransportChoice.EXEC, enter, 2 * HEAD_START if pod.ready else _BOOT_TIME),
        )
        if self.chosen is not TransportChoice.AUTO:
            return [replace(one, delay=0.0) for one in everything if one.name == self.chosen]
        if not self.known:
            return list(everything)
        return [replace(one, delay=0.0 if one.name == self.known else max(one.delay, HEAD_START)) for one in everything]

    def prefer_direct(self, pod: PodView, winner: TransportWinner[Control]) -> TransportWinner[Control]:
        """Switch from a winning tunnel to the pod's own address, if that answers at once.

        A tunnel needs neither an address nor an idle machine to win, but then sending the build's context takes two to
        four times as long. If nothing answers at the address, this costs ``CHANGE_TIME`` at most; it costs nothing if a
        tunnel won an earlier race.
        """
        ip = _check_ip(winner.value.labels.get(ADDRESS_LABEL, "")) or pod.ip
        raced = self.chosen is TransportChoice.AUTO and self.known in ("", TransportChoice.DIRECT)
        if not (raced and ip) or winner.name == TransportChoice.DIRECT:
            return winner
        address = transport_race.PodAddress(
            namespace=pod.namespace, name=pod.name, ip=ip, container=CONTAINER, port=PORT
        )
        with ExitStack() as undo:
            try:
                endpoint = undo.enter_context(transport_race.open_direct(address, timeout=CHANGE_TIME))
                control = self.dial(endpoint)
                undo.callback(control.close)
                # The version, not the workers: buildkitd probes workers on each call, and they are known already.
                control.read_version(_SECOND_ANSWER_TIME)
            except (TransportError, BuildkitError) as failure:
                _LOG.debug("pod %s: keeping %s, direct does not respond: %s", pod.name, winner.name, failure)
                return winner
            _LOG.debug("pod %s: direct takes over from %s", pod.name, winner.name)
            control.platforms, control.labels = winner.value.platforms, winner.value.labels
            winner.value.close()
            start_thread(winner.close)
            return TransportWinner(TransportChoice.DIRECT, endpoint, control, undo.pop_all())

    def ask(
        self, pod: PodView, deadline: float, work: Callable[[Control], T], *, stop: threading.Event | None = None
    ) -> T:
        """Connect to a running pod and return the result of ``work``.

        ``deadline`` (a time.monotonic() value) and ``stop`` end the attempts. Raises TransportError if the pod cannot
        be reached, and what ``work`` raises.
        """
        with self.open(pod, deadline, stop=stop) as control:
            return work(control)

    @contextmanager
    def open(self, pod: PodView, deadline: float, *, stop: threading.Event | None = None) -> Iterator[Control]:
        """Connect to a running pod until the end of the block, as :meth:`ask` does. Raises TransportError."""
        # Import gRPC first: a candidate that waits for the import looks slow, and the next one starts for nothing.
        load_grpc()
        candidates = self.list_candidates(pod, lambda: pod)
        winner = transport_race.race_transports(
            candidates, answer=self.answer, deadline=deadline, stop=stop, discard=Control.close, subject=pod.name
        )
        with winner, winner.value as control:
            yield control

    def explain(self, pod: PodView, failure: TransportError) -> TransportError:
        """Return the failure of a race with the pod and a fix."""
        fix = _ALL_WAYS if self.chosen is TransportChoice.AUTO else _OTHER_WAYS
        return TransportError(f"pod {pod.name}: {failure}", fix=fix)

    def answer(self, endpoint: PodEndpoint, timeout: float) -> Control:
        """Return a Control whose buildkitd has answered within ``timeout`` seconds."""
        control = self.dial(endpoint)
        try:
            control.list_workers(timeout)
        except BaseException:
            control.close()
            raise
        return control

    def dial(self, endpoint: PodEndpoint) -> Control:
        """Return a Control that connects on its first call."""
        keys = self.keys
        credentials = (keys.ca, keys.certificate, keys.key.reveal()) if endpoint.secure else None
        return Control(endpoint.target, credentials=credentials, server_name=SERVER_NAME)


def _check_ip(text: str) -> str:
    """Return ``text`` if it is an IP address, else "": it comes from buildkitd, so it is not trusted."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)
            return text
    return ""
