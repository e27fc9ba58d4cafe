"""The builder that a verb is about."""

from __future__ import annotations

from ci_buildx.model.record import dataclass
from ci_buildx.settings.values import ClusterSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to look for a builder: ``namespace`` "" means wherever it is found."""

    cluster: ClusterSettings
    namespace: str
    name: str = ""
