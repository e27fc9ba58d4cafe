"""The ways to the buildkitd of one pod, and its first answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import TypeVar

from ci_buildx.builder.builder import ADDRESS_LABEL, PORT, SERVER_NAME, ClientKeys
from ci_buildx.builder.pods import CONTAINER, PodView
from ci_buildx.buildkit.channel import load_grpc
from ci_buildx.buildkit.control import Control
from ci_buildx.errors import BuildkitError, TransportError
from ci_buildx.job.parallel import begin
from ci_buildx.kube.client import KubeClient
from ci_buildx.model import debug
from ci_buildx.model.record import dataclass, replace
from ci_buildx.settings.values import TransportChoice
from ci_buildx.transport import direct, race
from ci_buildx.transport.endpoint import Endpoint, PodAddress
from ci_buildx.transport.knocks import EARLY, Knocks, Stage
from ci_buildx.transport.race import Candidate, Winner

T = TypeVar("T")

_LOG = debug.get_log("job")
ANSWER_TIME = 5.0
"""Seconds for one answer."""
HEAD_START = 0.1
"""Seconds between a transport and the next slower one."""
CHANGE_TIME = 0.1
"""Seconds for the pod's own address to accept a connection after a tunnel has won: its kernel does, however busy."""
_SECOND_ANSWER_TIME = 2.0
"""Seconds for the first answer over that connection."""
_BOOT_TIME = 3.0
"""Seconds in which a pod usually has come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a pod is reached: ``chosen`` by the user, or raced; ``known`` is what won an earlier race, "" if none did."""

    kube: KubeClient
    keys: ClientKeys
    chosen: TransportChoice = TransportChoice.AUTO
    known: str = ""

    def candidates(self, pod: PodView, look: Callable[[], PodView | None]) -> list[Candidate]:
        """The transports to try, in the order in which they start. ``look`` gives the pod as it is at each try."""

        def address() -> PodAddress:
            now = look() or pod
            return PodAddress(namespace=pod.namespace, name=pod.name, ip=now.ip, container=CONTAINER, port=PORT)

        def stage() -> Stage:
            now = look() or pod
            return Stage.READY if now.ready else Stage.RUNNING if now.running else Stage.UNKNOWN

        # The tunnels are imported by those who need them.
        def forward() -> AbstractContextManager[Endpoint]:
            from ci_buildx.transport import portforward

            forwards.take_turn()
            return portforward.open(self.kube, address())

        def enter() -> AbstractContextManager[Endpoint]:
            from ci_buildx.transport import execute

            execs.take_turn()
            return execute.open(self.kube, address())

        # Each knock by exec starts a process in the pod: while it boots, that would slow it down.
        execs_early = EARLY if self.chosen is TransportChoice.EXEC else None
        forwards, execs = Knocks(stage), Knocks(stage, blind=None, early=execs_early)
        everything = (
            Candidate(TransportChoice.DIRECT, lambda: direct.open(address())),
            Candidate(TransportChoice.PORT_FORWARD, forward, HEAD_START),
            Candidate(TransportChoice.EXEC, enter, 2 * HEAD_START if pod.ready else _BOOT_TIME),
        )
        if self.chosen is not TransportChoice.AUTO:
            return [replace(one, delay=0.0) for one in everything if one.name == self.chosen]
        if not self.known:
            return list(everything)
        return [replace(one, delay=0.0 if one.name == self.known else max(one.delay, HEAD_START)) for one in everything]

    def prefer_direct(self, pod: PodView, winner: Winner[Control]) -> Winner[Control]:
        """Change over from a tunnel that won to the pod's own address, if that answers at once.

        A tunnel needs no address and no idle machine to win; the build's context then takes it twice to four times as
        long. Where nothing answers at the address this costs ``CHANGE_TIME`` at most, and nothing where a tunnel has
        won a race before.
        """
        ip = _checked_ip(winner.value.labels.get(ADDRESS_LABEL, "")) or pod.ip
        raced = self.chosen is TransportChoice.AUTO and self.known in ("", TransportChoice.DIRECT)
        if not (raced and ip) or winner.name == TransportChoice.DIRECT:
            return winner
        address = PodAddress(namespace=pod.namespace, name=pod.name, ip=ip, container=CONTAINER, port=PORT)
        with ExitStack() as undo:
            try:
                endpoint = undo.enter_context(direct.open(address, timeout=CHANGE_TIME))
                control = self.dial(endpoint)
                undo.callback(control.close)
                # Not for its workers, which it probes each time: what they are is known already.
                control.info(_SECOND_ANSWER_TIME)
            except (TransportError, BuildkitError) as failure:
                _LOG.debug("pod %s: %s stays, direct does not answer: %s", pod.name, winner.name, failure)
                return winner
            _LOG.debug("pod %s: direct takes over from %s", pod.name, winner.name)
            control.platforms, control.labels = winner.value.platforms, winner.value.labels
            winner.value.close()
            begin(winner.close)
            return Winner(TransportChoice.DIRECT, endpoint, control, undo.pop_all())

    def ask(
        self, pod: PodView, deadline: float, work: Callable[[Control], T], *, stop: threading.Event | None = None
    ) -> T:
        """Connect to a running pod until ``deadline`` (a time.monotonic() value) or ``stop``; do ``work`` over it.

        Raises TransportError if it cannot be reached, and what ``work`` raises.
        """
        # A candidate that waits for the import would seem slow, and the next would join in for nothing.
        load_grpc()
        candidates = self.candidates(pod, lambda: pod)
        winner = race.connect(
            candidates, answer=self.answer, deadline=deadline, stop=stop, discard=Control.close, subject=pod.name
        )
        with winner, winner.value as control:
            return work(control)

    def answer(self, endpoint: Endpoint) -> Control:
        """A Control whose buildkitd has answered."""
        control = self.dial(endpoint)
        try:
            control.workers(ANSWER_TIME)
        except BaseException:
            control.close()
            raise
        return control

    def dial(self, endpoint: Endpoint) -> Control:
        """A Control that connects with its first call."""
        keys = self.keys
        credentials = (keys.ca, keys.certificate, keys.key.reveal()) if endpoint.secure else None
        return Control(endpoint.target, credentials=credentials, server_name=SERVER_NAME)


def _checked_ip(text: str) -> str:
    """``text`` if it is an IP address, else "": it is buildkitd's word."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)
            return text
    return ""
