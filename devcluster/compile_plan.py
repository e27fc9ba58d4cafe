"""What a compilation consists of, and how far it is. No I/O: `devcluster.compiler` feeds it.

The Go command names a package when it begins to compile it (`go build -v`), and none that is in its cache. From that
follows what is done: all dependencies of a named package.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

LISTING = "\t".join(
    (
        "{{.ImportPath}}",
        "{{with .Module}}{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}{{end}}",
        "{{.Dir}}",
        '{{join .GoFiles ","}}',
        '{{join .CgoFiles ","}}',
        '{{join .Imports ","}}',
    )
)
"""Template of `go list -deps`: one line for each package, dependencies first."""
BASE, IMPORT = 20_000, 6_000
"""Weight of any package and of each of its imports, in bytes of source: as measured over the packages of Kubernetes."""
LINK = 0.01
"""Weight of linking, as a share of the weight of all linked packages."""
SETTLED = 20.0
"""Seconds after which the speed is known well enough for an estimate."""
TAIL = 0.02
"""Share of a recipe's weight that is left when the cores begin to idle: few packages can be compiled at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPackage:
    """A package of a recipe.

    `identity` covers its module's version and all dependencies: equal ones are compiled once. Bit N of `reach` is set
    if it depends on package N of its plan. `weight` is the time to compile it, in terms of bytes of source.
    """

    path: str
    identity: int
    reach: int
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilePlan:
    """The packages of a recipe, dependencies first."""

    recipe: str
    packages: tuple[PlannedPackage, ...]

    @property
    def weight(self) -> int:
        """Weight of all packages."""
        return sum(package.weight for package in self.packages)


def parse_listing(recipe: str, listing: str, measure: Callable[[str], int]) -> CompilePlan:
    """Return the plan of `go list -deps` with the template LISTING. ``measure`` returns a file's bytes."""
    packages: list[PlannedPackage] = []
    places: dict[str, int] = {}
    for line in listing.splitlines():
        path, version, folder, plain, cgo, imports = line.split("\t")
        direct = [places[name] for name in imports.split(",") if name in places]
        reach = 0
        for place in direct:
            reach |= packages[place].reach | 1 << place
        files = [f"{folder}/{name}" for name in f"{plain},{cgo}".split(",") if name]
        places[path] = len(packages)
        packages.append(
            PlannedPackage(
                path=path,
                identity=hash((path, version, *(packages[place].identity for place in direct))),
                reach=reach,
                weight=BASE + IMPORT * len(direct) + sum(map(measure, files)),
            )
        )
    return CompilePlan(recipe=recipe, packages=tuple(packages))


class RecipeProgress:
    """How far one recipe is: `reached` and `named` have bit N set if package N is done, or was compiled in this run."""

    def __init__(self, plan: CompilePlan) -> None:
        self.plan = plan
        self.reached = self.named = 0
        self._places = {package.path: place for place, package in enumerate(plan.packages)}

    def start_package(self, path: str) -> list[PlannedPackage] | None:
        """Note that a package is being compiled; return what is done since the last call, None if it is not planned."""
        place = self._places.get(path)
        if place is None:
            return None
        self.named |= 1 << place
        return self._reach(self.plan.packages[place].reach)

    def finish(self) -> list[PlannedPackage]:
        """Note that all packages are done; return those that were not yet."""
        return self._reach((1 << len(self.plan.packages)) - 1)

    def _reach(self, places: int) -> list[PlannedPackage]:
        fresh = places & ~self.reached
        self.reached |= places
        return [self.plan.packages[place] for place in _list_bits(fresh)]

    def is_compiled_now(self, package: PlannedPackage) -> bool:
        """Return whether this run compiled it; otherwise it was in the cache."""
        return bool(self.named >> self._places[package.path] & 1)

    @property
    def is_ending(self) -> bool:
        """Whether so little is left that a core may idle: the next recipe can begin."""
        begun = self.reached | self.named
        left = sum(one.weight for place, one in enumerate(self.plan.packages) if not begun >> place & 1)
        return left <= TAIL * self.plan.weight


def _list_bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class CompileProgress:
    """Counts packages over all recipes, and estimates the time that is left.

    ``began`` is the start, in seconds of a monotonic clock. ``expected`` is the number of recipes: the total is known
    when each has its plan. Packages that an earlier run has compiled say nothing about the speed of this one.
    """

    def __init__(self, *, began: float, expected: int) -> None:
        self.began, self.expected = began, expected
        self.recipes: dict[str, RecipeProgress] = {}
        self._weights: dict[int, int] = {}
        self._done: set[int] = set()
        self._linking: dict[str, float] = {}
        self._worked = 0.0

    def add_plan(self, plan: CompilePlan) -> None:
        """Count a recipe's packages."""
        self.recipes[plan.recipe] = RecipeProgress(plan)
        self._weights |= {package.identity: package.weight for package in plan.packages}
        self._linking[plan.recipe] = LINK * plan.weight

    def start_package(self, recipe: str, path: str) -> bool:
        """Note that a package is being compiled; return whether it is one of the plan's."""
        fresh = self.recipes[recipe].start_package(path)
        self._count(recipe, fresh or [])
        return fresh is not None

    def finish(self, recipe: str) -> None:
        """Note that a recipe's programs are linked."""
        self._count(recipe, self.recipes[recipe].finish())
        self._worked += self._linking.pop(recipe)

    def _count(self, recipe: str, fresh: list[PlannedPackage]) -> None:
        for package in fresh:
            if package.identity not in self._done and self.recipes[recipe].is_compiled_now(package):
                self._worked += package.weight
            self._done.add(package.identity)

    def describe(self, now: float) -> str:
        """Return the progress as one line, such as ``1,204 of 3,391 packages compiled, about 4 minutes left``."""
        if len(self.recipes) < self.expected:
            return f"{len(self._done):,} packages compiled, fetching modules"
        counted = f"{len(self._done):,} of {len(self._weights):,} packages compiled"
        left = self.estimate(now)
        if left is None:
            return counted
        minutes = round(left / 60)
        return f"{counted}, {f'about {minutes} min' if minutes else 'less than a minute'} left"

    def estimate(self, now: float) -> float | None:
        """Return the seconds that are left at the speed so far, None before that is known."""
        if now - self.began < SETTLED or not self._worked:
            return None
        left = sum(weight for identity, weight in self._weights.items() if identity not in self._done)
        return (left + sum(self._linking.values())) * (now - self.began) / self._worked
