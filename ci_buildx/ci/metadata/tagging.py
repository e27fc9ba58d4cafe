"""Tags from rules, and versions: SemVer 2.0 as node-semver 7 reads it (strict, with a leading ``v``), and PEP 440."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from ci_buildx.ci.metadata import expressions
from ci_buildx.ci.metadata.facts import HEADS, PULL, TAGS, CommitFacts
from ci_buildx.ci.metadata.rules import Flavor, LatestMode, TagKind, TagRule, compile_expression
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass

_LONGEST = 256
_LARGEST = 2**53 - 1
"""Largest number in a version: JavaScript's limit, as in node-semver (``internal/constants.js``)."""
_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"v?(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PEP440 = re.compile(
    r"v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(?P<pre>alpha|beta|preview|pre|a|b|c|rc)[-_.]?(?P<pre_number>[0-9]+)?)?"
    r"(?P<post>-(?P<post_bare>[0-9]+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>[0-9]+)?)?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_number>[0-9]+)?)?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
_SPELLINGS = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedVersion:
    """A version; ``text`` is its canonical form, ``raw`` its original one.

    ``final`` is whether it is a release: no pre-release and, for PEP 440, no post or development release either.
    """

    raw: str
    text: str
    major: str
    minor: str
    patch: str
    final: bool
    prerelease: str = ""
    build: str = ""


def parse_semver(text: str) -> ParsedVersion | None:
    """Parse a semantic version; return None if the text is not one."""
    found = _SEMVER.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if not found or any(int(found[name]) > _LARGEST for name in ("major", "minor", "patch")):
        return None
    before = found["prerelease"] or ""
    numbers = f"{found['major']}.{found['minor']}.{found['patch']}"
    return ParsedVersion(
        raw=text,
        text=f"{numbers}-{before}" if before else numbers,
        major=found["major"],
        minor=found["minor"],
        patch=found["patch"],
        final=not before,
        prerelease=before.replace(".", ","),
        build=(found["build"] or "").replace(".", ","),
    )


def parse_pep440(text: str) -> ParsedVersion | None:
    """Parse a PEP 440 version; return None if the text is not one."""
    found = _PEP440.fullmatch(text.strip())
    if not found:
        return None
    release = [str(int(part)) for part in found["release"].split(".")]
    padded = [*release, "0", "0"]
    return ParsedVersion(
        raw=text,
        text=_canonicalize(found, release),
        major=padded[0],
        minor=padded[1],
        patch=padded[2],
        final=not (found["pre"] or found["post"] or found["dev"]),
    )


def _canonicalize(found: re.Match[str], release: list[str]) -> str:
    """Return the normalized form (PEP 440, "Normalization")."""
    parts = [f"{int(found['epoch'])}!" if int(found["epoch"] or 0) else "", ".".join(release)]
    if found["pre"]:
        spelling = found["pre"].lower()
        parts.append(f"{_SPELLINGS.get(spelling, spelling)}{int(found['pre_number'] or 0)}")
    if found["post"]:
        parts.append(f".post{int(found['post_bare'] or found['post_number'] or 0)}")
    if found["dev"]:
        parts.append(f".dev{int(found['dev_number'] or 0)}")
    if found["local"]:
        pieces = re.split(r"[-_.]", found["local"].lower())
        parts.append("+" + ".".join(str(int(piece)) if piece.isdecimal() else piece for piece in pieces))
    return "".join(parts)


_FORBIDDEN = re.compile(r"[^a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TagDecision:
    """The tags of an image.

    ``main`` is the version, or "" if no rule applies. ``partial`` are the other tags; ``latest`` is the tag of that
    name with the flavor's affixes, or "". ``warnings`` name the rules that could have applied but did not.
    """

    main: str = ""
    partial: tuple[str, ...] = ()
    latest: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _RuleResult:
    """A rule's tag, and whether its version is the latest."""

    tag: str
    latest: bool = False


def decide_tags(rules: Iterable[TagRule], flavor: Flavor, facts: CommitFacts, *, source: str) -> TagDecision:
    """Apply the rules in order. Raises InputError."""
    return _TagBuilder(flavor, facts, source).apply_rules(rules)


def clean_tag(tag: str) -> str:
    """Replace the characters that a tag may not contain."""
    return _FORBIDDEN.sub("-", tag)


class _TagBuilder:
    def __init__(self, flavor: Flavor, facts: CommitFacts, source: str) -> None:
        self.flavor, self.facts, self.source = flavor, facts, source
        self.names = expressions.make_global_values(facts, source=source)
        self.warnings: list[str] = []

    def apply_rules(self, rules: Iterable[TagRule]) -> TagDecision:
        tags: list[str] = []
        latest: bool | None = None
        for text in (self.flavor.prefix, self.flavor.suffix):
            expressions.check(text, source="flavor")
        for rule in rules:
            self.check(rule)
            found = _RULES[rule.kind](self, rule) if self.is_enabled(rule) else None
            if found is None or not found.tag:
                continue
            tags.append(clean_tag(found.tag))
            if latest is None:
                latest = (
                    found.latest if self.flavor.latest is LatestMode.AUTO else self.flavor.latest is LatestMode.TRUE
                )
        main, *others = tags or [""]
        partial = tuple(dict.fromkeys(tag for tag in others if tag != main))
        return TagDecision(
            main=main, partial=partial, latest=self.make_latest() if latest else "", warnings=tuple(self.warnings)
        )

    def make_latest(self) -> str:
        """Return the tag ``latest`` with the flavor's affixes for it.

        Unlike metadata-action 6.2.0 (``src/meta.ts``, generateTags), their expressions are evaluated.
        """
        prefix = self.evaluate(self.flavor.prefix) if self.flavor.prefix_latest else ""
        suffix = self.evaluate(self.flavor.suffix) if self.flavor.suffix_latest else ""
        return clean_tag(f"{prefix}latest{suffix}")

    def check(self, rule: TagRule) -> None:
        """Raise InputError for unknown Handlebars, even in a rule that does not apply now.

        ``match`` and its pattern are regular expressions, so they are not checked.
        """
        plain = ("match", "pattern") if rule.kind is TagKind.MATCH else ("match",)
        for name, text in rule.attributes.items():
            if name not in plain:
                expressions.check(text, source=self.source)

    def evaluate(self, text: str, names: Mapping[str, expressions.Call] | None = None) -> str:
        return expressions.evaluate(text, self.names if names is None else names, source=self.source)

    def is_enabled(self, rule: TagRule) -> bool:
        value = self.evaluate(rule.get("enable"))
        if value not in ("true", "false"):
            raise InputError(f"enable={value!r} is neither true nor false", source=self.source)
        return value == "true"

    def add_affixes(self, rule: TagRule, tag: str) -> str:
        """Add prefix and suffix to the tag: the rule's own, else the flavor's."""
        prefix = rule.attributes.get("prefix", self.flavor.prefix)
        suffix = rule.attributes.get("suffix", self.flavor.suffix)
        return f"{self.evaluate(prefix)}{tag}{self.evaluate(suffix)}"

    def read_value(self, rule: TagRule) -> str:
        """Return the rule's value, or the pushed tag."""
        return self.evaluate(rule.get("value")) if rule.get("value") else self.facts.strip_ref_prefix(TAGS)

    def schedule(self, rule: TagRule) -> _RuleResult | None:
        if "schedule" not in self.facts.event:
            return None
        names = expressions.make_date_functions(self.facts, source=self.source)
        return _RuleResult(tag=self.add_affixes(rule, self.evaluate(rule.get("pattern"), names)))

    def make_version(self, rule: TagRule, read: Callable[[str], ParsedVersion | None], kind: str) -> _RuleResult | None:
        text = self.read_value(rule)
        if not text:
            return None
        if pattern := rule.get("match"):
            found = compile_expression(pattern).search(text)
            if found:
                text = found[1] if found.re.groups else found[0]
            else:
                self.warnings.append(f"{pattern} does not match {text}")
        text = text.replace("/", "-")
        version = read(text)
        if version is None:
            self.warnings.append(f"{text} is not a {kind} version")
            return None
        pattern = rule.get("pattern")
        if not (version.final or expressions.is_only(pattern, "raw")):
            pattern = "{{version}}"
        names = expressions.list_values(
            raw=version.raw,
            version=version.text,
            major=version.major,
            minor=version.minor,
            patch=version.patch,
            prerelease=version.prerelease,
            build=version.build,
        )
        return _RuleResult(tag=self.add_affixes(rule, self.evaluate(pattern, names)), latest=version.final)

    def make_semver(self, rule: TagRule) -> _RuleResult | None:
        return self.make_version(rule, parse_semver, "semantic")

    def make_pep440(self, rule: TagRule) -> _RuleResult | None:
        return self.make_version(rule, parse_pep440, "PEP 440")

    def match(self, rule: TagRule) -> _RuleResult | None:
        text, pattern, group = self.read_value(rule), rule.get("pattern"), int(rule.get("group"))
        if not text:
            return None
        found = compile_expression(pattern).search(text)
        if not found:
            self.warnings.append(f"{pattern} does not match {text}")
            return None
        if group > found.re.groups or found[group] is None:
            self.warnings.append(f"{pattern} has no group {group}")
            return None
        return _RuleResult(tag=self.add_affixes(rule, found[group]), latest=True)

    def make_edge(self, rule: TagRule) -> _RuleResult | None:
        branch = rule.get("branch") or self.facts.repository.default_branch
        if not branch or self.facts.strip_ref_prefix(HEADS) != branch:
            return None
        return _RuleResult(tag=self.add_affixes(rule, "edge"))

    def make_ref(self, rule: TagRule) -> _RuleResult | None:
        event = rule.get("event")
        prefix = {"branch": HEADS, "tag": TAGS, "pr": PULL}[event]
        name = self.facts.strip_ref_prefix(prefix)
        if event == "pr":
            name = name.removesuffix("/merge")
        return _RuleResult(tag=self.add_affixes(rule, name), latest=event == "tag") if name else None

    def make_raw(self, rule: TagRule) -> _RuleResult | None:
        return _RuleResult(tag=self.add_affixes(rule, self.evaluate(rule.get("value"))))

    def make_sha(self, rule: TagRule) -> _RuleResult | None:
        sha = self.facts.short_sha if rule.get("format") == "short" else self.facts.sha
        return _RuleResult(tag=self.add_affixes(rule, sha)) if sha else None


_RULES: Mapping[TagKind, Callable[[_TagBuilder, TagRule], _RuleResult | None]] = {
    TagKind.SCHEDULE: _TagBuilder.schedule,
    TagKind.SEMVER: _TagBuilder.make_semver,
    TagKind.PEP440: _TagBuilder.make_pep440,
    TagKind.MATCH: _TagBuilder.match,
    TagKind.EDGE: _TagBuilder.make_edge,
    TagKind.REF: _TagBuilder.make_ref,
    TagKind.RAW: _TagBuilder.make_raw,
    TagKind.SHA: _TagBuilder.make_sha,
}
