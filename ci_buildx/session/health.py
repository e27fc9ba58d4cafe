"""``grpc.health.v1.Health``: without its answers buildkitd ends a session after about ten seconds."""

from __future__ import annotations

from ci_buildx.protobuf import wire
from ci_buildx.session.call import Call

_STATUS_FIELD, _SERVING = 1, 1
_RESPONSE = wire.key(_STATUS_FIELD, wire.VARINT) + wire.varint(_SERVING)


class Health:
    """Always serving: a session that can answer is healthy."""

    methods = ("/grpc.health.v1.Health/Check",)

    def accept(self, call: Call) -> None:
        """Answer a check."""
        call.take_one(lambda _: call.reply(_RESPONSE))
