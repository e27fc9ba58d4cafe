"""State that several lines share: builders take half a minute to come up, so each is created once, at first use."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench import ours, peer
from bench.ground import PLATFORM, Ground
from bench.peer import Peer


@dataclass(slots=True, kw_only=True)
class Arena:
    """One run of the benchmarks. ``rounds`` overrides each line's own number; ``quick`` means as few as possible."""

    ground: Ground
    rounds: int | None = None
    quick: bool = False
    _peer: Peer | None = field(default=None, init=False)
    _names: dict[str, str] = field(default_factory=dict, init=False)

    def count(self, usual: int) -> int:
        """Return the number of rounds for a line whose default is ``usual``."""
        return self.rounds or (1 if self.quick else usual)

    @property
    def peer(self) -> Peer:
        """The buildx contestant."""
        if self._peer is None:
            self._peer = self.ground.undo.enter_context(peer.prepared(self.ground))
        return self._peer

    @property
    def kept(self) -> str:
        """Name of a running builder of kube-builder."""
        if "kept" not in self._names:
            self._names["kept"] = self.ground.undo.enter_context(ours.kept_builder(self.ground, [PLATFORM]))
        return self._names["kept"]

    @property
    def theirs(self) -> str:
        """Name of a running builder of buildx's kubernetes driver."""
        if "theirs" not in self._names:
            self._names["theirs"] = self.ground.undo.enter_context(self.peer.builder())
        return self._names["theirs"]

    @property
    def remote(self) -> str:
        """Name of a builder of buildx's remote driver that uses the pod of ``kept``."""
        if "remote" not in self._names:
            self._names["remote"] = self.ground.undo.enter_context(self.peer.remote(self.kept))
        return self._names["remote"]
