"""What several lines share: builders that take half a minute to come up are made once, when first asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench import ours, peer
from bench.ground import PLATFORM, Ground
from bench.peer import Peer


@dataclass(slots=True, kw_only=True)
class Arena:
    """One run of the bench. ``rounds`` overrides each line's own number; ``quick`` means as few as make sense."""

    ground: Ground
    rounds: int | None = None
    quick: bool = False
    _peer: Peer | None = field(default=None, init=False)
    _names: dict[str, str] = field(default_factory=dict, init=False)

    def count(self, usual: int) -> int:
        """The number of rounds for a line that usually has ``usual``."""
        return self.rounds or (1 if self.quick else usual)

    @property
    def peer(self) -> Peer:
        """buildx."""
        if self._peer is None:
            self._peer = self.ground.undo.enter_context(peer.prepared(self.ground))
        return self._peer

    @property
    def kept(self) -> str:
        """A builder of ours that is up."""
        if "kept" not in self._names:
            self._names["kept"] = self.ground.undo.enter_context(ours.kept_builder(self.ground, [PLATFORM]))
        return self._names["kept"]

    @property
    def theirs(self) -> str:
        """A builder of buildx's kubernetes driver that is up."""
        if "theirs" not in self._names:
            self._names["theirs"] = self.ground.undo.enter_context(self.peer.builder())
        return self._names["theirs"]

    @property
    def remote(self) -> str:
        """A builder of buildx's remote driver on ``kept``."""
        if "remote" not in self._names:
            self._names["remote"] = self.ground.undo.enter_context(self.peer.remote(self.kept))
        return self._names["remote"]
