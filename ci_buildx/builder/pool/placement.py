"""Placement of a build in one of several pods, by their load: pure functions.

``sticky`` is rendezvous hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with
Bounded Loads", 2016): a key prefers the pods in a fixed order, and the first pod with fewer than 1.25 times the mean
of running builds gets it, two builds being allowed always. So a build goes to its key's warm cache unless that pod is
busier than the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from ci_buildx.builder.pods import PodView, rank_pods
from ci_buildx.model.record import dataclass
from ci_buildx.settings.builder import MOST_BUILDS, BuilderSettings, LoadBalance
from ci_buildx.settings.syntax import parse_quantity

STRETCH = (5, 4)
"""Bound on a pod's builds as a multiple of the mean, as a fraction: 1.25."""
LEAST_BOUND = 2
"""Builds that the bound always allows.

With less than one build per pod, 1.25 times the mean is one: each second build of a key would leave its cache, although
the pool is nearly idle.
"""
_GIBIBYTE = 1 << 30
_MOST_DIGITS = 10
_WHY = {LoadBalance.LEAST: "as the least busy", LoadBalance.RANDOM: "at random"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLoad:
    """A pod that may be chosen, and the numbers of its slots that are ``held``."""

    pod: PodView
    held: frozenset[int] = frozenset()

    @property
    def builds(self) -> int:
        """Return the number of running builds."""
        return len(self.held)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRule:
    """How a node's builds are placed. ``most`` is the maximum of builds per pod, 0 for unbounded.

    ``least`` is the number of pods that an elastic pool keeps, 0 for a pool that is not elastic.
    """

    policy: LoadBalance
    key: str
    most: int = 0
    least: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlacement:
    """The pod for a build, and the ``number`` of the slot to claim.

    ``rank`` is 0 for the key's first choice. ``limit`` is the number of builds that the pod may have, this one
    included. ``first`` is the key's first choice, with its load. ``spare`` is the pod that the pool can do without, ""
    for none.
    """

    pod: PodView
    number: int
    rank: int
    limit: int
    builds: int
    first: PodLoad
    spare: str = ""


def compute_bound(builds: int, pods: int) -> int:
    """Return how many of ``builds`` running builds one of ``pods`` pods may have.

    That is 1.25 times the mean, rounded up, and at least ``LEAST_BOUND``.
    """
    above, below = STRETCH
    return max(-(-above * builds // (below * pods)), LEAST_BOUND)


def count_free_slots(loads: Sequence[PodLoad], most: int) -> int | None:
    """Return how many more builds the pods take; None if their number is unbounded."""
    return sum(max(most - one.builds, 0) for one in loads) if most else None


def find_spare_pod(rule: PlacementRule, loads: Sequence[PodLoad]) -> str:
    """Return the name of the last pod if an elastic pool can do without it, else "".

    That is so if this and all running builds would fill the other pods by half at most. A pod that gets no builds is
    removed when it has been idle for long enough, and then the next one is the last. Otherwise a few builds that happen
    to prefer different pods would keep all of them.
    """
    builds = sum(one.builds for one in loads) + 1
    if not rule.least or len(loads) <= rule.least or 2 * builds > rule.most * (len(loads) - 1):
        return ""
    return max((one.pod.name for one in loads), key=lambda name: (read_ordinal(name), name))


def read_ordinal(name: str) -> int:
    """Return the number at the end of the name of a StatefulSet's pod, which loses the highest first; -1 for none."""
    text = name.rpartition("-")[2]
    return int(text) if text.isdecimal() and len(text) < _MOST_DIGITS else -1


def place_build(rule: PlacementRule, loads: Sequence[PodLoad], draw: Random) -> PodPlacement | None:
    """Return where a build goes; None if no pod has room.

    The slot is one of those below the limit, by chance: so builds that decide at the same time seldom claim the same
    one, and never exceed the limit together.
    """
    if not loads:
        return None
    by_name = {one.pod.name: one for one in loads}
    preferred = [by_name[name] for name in rank_pods(rule.key, by_name)]
    spare = find_spare_pod(rule, loads)
    shared = [one for one in preferred if one.pod.name != spare]
    bound = compute_bound(sum(one.builds for one in loads) + 1, len(shared))
    for candidate in _order_candidates(rule.policy, shared, draw):
        limit = bound if rule.policy is LoadBalance.STICKY else candidate.builds + 1
        limit = min(limit, rule.most or limit)
        if candidate.builds < limit:
            free = [number for number in range(limit) if number not in candidate.held]
            return PodPlacement(
                pod=candidate.pod,
                number=draw.choice(free),
                rank=preferred.index(candidate),
                limit=limit,
                builds=candidate.builds,
                first=preferred[0],
                spare=spare,
            )
    return None


def _order_candidates(policy: LoadBalance, preferred: Sequence[PodLoad], draw: Random) -> Sequence[PodLoad]:
    match policy:
        case LoadBalance.STICKY:
            return preferred
        case LoadBalance.LEAST:
            # Among equally busy pods, the key's order decides: a quiet pool keeps its caches warm.
            return sorted(preferred, key=lambda one: one.builds)
        case LoadBalance.RANDOM:
            return draw.sample(preferred, len(preferred))


def explain_placement(rule: PlacementRule, chosen: PodPlacement) -> str:
    """Return why a pod was chosen, with its load."""
    load = _count(chosen.builds, "other build") + (f", at most {rule.most} in all" if rule.most else "")
    if rule.policy is not LoadBalance.STICKY:
        return f"{_WHY[rule.policy]} ({load})"
    by_key = f"by the sticky key {rule.key!r}"
    if chosen.rank == 0:
        return f"{by_key} (first choice, {load})"
    if chosen.first.pod.name == chosen.spare:
        return f"{by_key} (choice {chosen.rank + 1}, {load}: {chosen.spare} is left idle, so that the pool can shrink)"
    full = rule.most and chosen.first.builds >= rule.most
    why = f"all {rule.most} slots of {chosen.first.pod.name} are taken" if full else _explain_bound(chosen)
    return f"{by_key} (choice {chosen.rank + 1}, {load}: {why})"


def _explain_bound(chosen: PodPlacement) -> str:
    quiet = chosen.limit == LEAST_BOUND
    bound = "the bound while the pool is quiet" if quiet else f"1.25 times the mean is {chosen.limit}"
    return f"{chosen.first.pod.name} has {_count(chosen.first.builds)}, {bound}"


def _count(builds: int, name: str = "build") -> str:
    return f"{builds} {name}" if builds == 1 else f"{builds} {name}s"


def choose_most_builds(settings: BuilderSettings) -> int:
    """Return the maximum of concurrent builds in a pod, 0 for unbounded.

    If the user did not set it, each build of a builder with several pods has a whole CPU and a GiB of memory of the
    pod's requests. Requests of less say nothing about its capacity, and a single pod has no other pod to relieve it.
    """
    if settings.max_builds is not None:
        return settings.max_builds
    if settings.replicas == 1 and settings.scaling is None:
        return 0
    units: Mapping[str, int] = {"cpu": 1, "memory": _GIBIBYTE}
    shares = [
        int(parse_quantity(amount, source=f"requests.{name}") / units[name])
        for name, amount in settings.requests
        if name in units
    ]
    whole = [share for share in shares if share]
    return min(*whole, MOST_BUILDS) if whole else 0
