"""``semvercmp``: whether a version fulfils a constraint (Masterminds/semver 3.4.0)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ci_buildx.hcl.functions.signature import CallError, HclFunction, Parameter
from ci_buildx.hcl.types.values import STRING, HclValue, make_bool

_PRE = r"(?:-([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?(?:\+([0-9A-Za-z\-]+(?:\.[0-9A-Za-z\-]+)*))?"
_VERSION = re.compile(rf"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?{_PRE}")
_NUMBERS = r"v?([0-9|xX*]+)(?:\.([0-9|xX*]+))?(?:\.([0-9|xX*]+))?"
_OPERATORS = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^"
_CONSTRAINT = re.compile(rf"\s*(!=|>=|=>|<=|=<|~>|[=><~^]?)\s*{_NUMBERS}{_PRE}\s*")
_SEPARATOR = re.compile(r"\s*,\s*|\s+")
_RANGE = re.compile(rf"\s*({_NUMBERS}{_PRE})\s+-\s+({_NUMBERS}{_PRE})\s*")


@dataclass(frozen=True, slots=True)
class SemanticVersion:
    """A version; missing numbers are 0."""

    numbers: tuple[int, int, int]
    prerelease: str = ""

    def make_order(self) -> tuple[tuple[int, int, int], bool, list[tuple[bool, int, str]]]:
        """Return a key by which versions are sorted: a prerelease comes before its release."""
        parts = self.prerelease.split(".") if self.prerelease else []
        order = [(not one.isdigit(), int(one) if one.isdigit() else 0, one) for one in parts]
        return self.numbers, not self.prerelease, order


@dataclass(frozen=True, slots=True)
class VersionConstraint:
    """One comparison; ``given`` counts the numbers that are not wildcards."""

    operator: str
    version: SemanticVersion
    given: int

    def allows(self, version: SemanticVersion) -> bool:
        """Return whether the version fulfils the comparison."""
        order, wanted = version.make_order(), self.version.make_order()
        match self.operator:
            case "" | "=":
                return order == wanted if self.given == 3 else self._is_near(version)
            case "!=":
                return order != wanted if self.given == 3 else not self._has_prefix(version)
            case ">":
                return order > wanted if self.given == 3 else self._is_above(version)
            case "<":
                return order < wanted
            case ">=" | "=>":
                return order >= wanted
            case "<=" | "=<":
                return order <= wanted if self.given == 3 else not self._is_above(version)
            case "~" | "~>":
                return self._is_near(version)
        return self._is_compatible(version)

    def _has_prefix(self, version: SemanticVersion) -> bool:
        same = version.numbers[: self.given] == self.version.numbers[: self.given]
        return same and (self.given < 2 or version.prerelease == self.version.prerelease)

    def _is_above(self, version: SemanticVersion) -> bool:
        return self.given > 0 and version.numbers[: self.given] > self.version.numbers[: self.given]

    def _is_near(self, version: SemanticVersion) -> bool:
        """Return whether a tilde allows the version: the same minor, or the same major if there is no minor."""
        if version.make_order() < self.version.make_order():
            return False
        if self.given == 0 or (self.given == 3 and self.version.numbers == (0, 0, 0)):
            return True
        depth = 1 if self.given == 1 else 2
        return version.numbers[:depth] == self.version.numbers[:depth]

    def _is_compatible(self, version: SemanticVersion) -> bool:
        """Return whether a caret allows the version: nothing to the left of the first number that is not 0 changes."""
        if version.make_order() < self.version.make_order():
            return False
        if self.given == 0:
            return True
        numbers = self.version.numbers
        smaller = 2 if numbers[1] > 0 or self.given == 2 else 3
        depth = 1 if numbers[0] > 0 or self.given == 1 else smaller
        return version.numbers[:depth] == numbers[:depth]


def parse_version(text: str) -> SemanticVersion:
    """Parse a version; minor and patch may be missing. Raises ValueError."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError("invalid semantic version")
    numbers = (int(match[1]), int(match[2] or 0), int(match[3] or 0))
    return SemanticVersion(numbers, match[4] or "")


def _parse_constraints(text: str) -> list[VersionConstraint]:
    found: list[VersionConstraint] = []
    at = 0
    while at < len(text) or not found:
        match = _CONSTRAINT.match(text, at)
        if match is None:
            raise ValueError(f"improper constraint: {text}")
        found.append(_make_constraint(match))
        at = match.end()
        if text.startswith(",", at):
            at += 1
        elif at < len(text) and not text[at - 1].isspace():
            raise ValueError(f"improper constraint: {text}")
    return found


def _make_constraint(match: re.Match[str]) -> VersionConstraint:
    numbers: list[int] = []
    for part in match.group(2, 3, 4):
        if part is None or part in ("x", "X", "*"):
            break
        if not part.isdigit():
            raise ValueError("constraint parser error")
        numbers.append(int(part))
    filled = (*numbers, 0, 0, 0)[:3]
    return VersionConstraint(match[1], SemanticVersion((filled[0], filled[1], filled[2]), match[5] or ""), len(numbers))


def is_allowed(version: SemanticVersion, constraint: str) -> bool:
    """Return whether a version fulfils a constraint. Raises ValueError for an invalid one.

    A prerelease only fulfils constraints that name a prerelease.
    """
    rewritten = _RANGE.sub(lambda match: f">= {match[1]}, <= {match[7]} ", constraint)
    alternatives = [_parse_constraints(part) for part in rewritten.split("||")]
    for parts in alternatives:
        named = any(one.version.prerelease for one in parts)
        if (named or not version.prerelease) and all(one.allows(version) for one in parts):
            return True
    return False


def _compare(given: Sequence[HclValue]) -> HclValue:
    try:
        return make_bool(value=is_allowed(parse_version(given[0].text), given[1].text))
    except ValueError as error:
        raise CallError(str(error)) from None


FUNCTIONS = {"semvercmp": HclFunction((Parameter("version", STRING), Parameter("contraint", STRING)), _compare)}
