"""The version of an image, and the other tags it gets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from ci_buildx.ci.metadata import expressions
from ci_buildx.ci.metadata.facts import HEADS, PULL, TAGS, Facts
from ci_buildx.ci.metadata.rules import Flavor, Kind, Latest, Rule, expression
from ci_buildx.ci.metadata.versions import Version, parse_pep440, parse_semver
from ci_buildx.errors import InputError
from ci_buildx.model.record import dataclass

_FORBIDDEN = re.compile(r"[^a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagging:
    """``main`` is the version, "" where no rule applies; ``partial`` are other tags, ``latest`` whether that is one.

    ``warnings`` say which rules could have applied and did not.
    """

    main: str = ""
    partial: tuple[str, ...] = ()
    latest: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a rule gives: a tag, and whether the version that it makes is the latest."""

    tag: str
    latest: bool = False


def decide(rules: Iterable[Rule], flavor: Flavor, facts: Facts, *, source: str) -> Tagging:
    """Apply the rules in their order. Raises InputError."""
    return _Decision(flavor, facts, source).of(rules)


def clean(tag: str) -> str:
    """The tag in the characters that a tag may have."""
    return _FORBIDDEN.sub("-", tag)


class _Decision:
    def __init__(self, flavor: Flavor, facts: Facts, source: str) -> None:
        self.flavor, self.facts, self.source = flavor, facts, source
        self.names = expressions.everywhere(facts, source=source)
        self.warnings: list[str] = []

    def of(self, rules: Iterable[Rule]) -> Tagging:
        tags: list[str] = []
        latest: bool | None = None
        for rule in rules:
            self.check(rule)
            found = _RULES[rule.kind](self, rule) if self.enabled(rule) else None
            if found is None or not found.tag:
                continue
            tags.append(clean(found.tag))
            if latest is None:
                latest = found.latest if self.flavor.latest is Latest.AUTO else self.flavor.latest is Latest.TRUE
        main, *others = tags or [""]
        partial = tuple(dict.fromkeys(tag for tag in others if tag != main))
        return Tagging(main=main, partial=partial, latest=bool(latest), warnings=tuple(self.warnings))

    def check(self, rule: Rule) -> None:
        """Refuse unknown Handlebars also in a rule that does not apply today; ``match`` and its pattern hold none."""
        plain = ("match", "pattern") if rule.kind is Kind.MATCH else ("match",)
        for name, text in rule.attributes.items():
            if name not in plain:
                expressions.check(text, source=self.source)

    def say(self, text: str, names: Mapping[str, expressions.Call] | None = None) -> str:
        return expressions.evaluate(text, self.names if names is None else names, source=self.source)

    def enabled(self, rule: Rule) -> bool:
        value = self.say(rule.get("enable"))
        if value not in ("true", "false"):
            raise InputError(f"enable={value!r} is neither true nor false", source=self.source)
        return value == "true"

    def dressed(self, rule: Rule, tag: str) -> str:
        """The tag with prefix and suffix: the rule's own, else the flavor's."""
        prefix = rule.attributes.get("prefix", self.flavor.prefix)
        suffix = rule.attributes.get("suffix", self.flavor.suffix)
        return f"{self.say(prefix)}{tag}{self.say(suffix)}"

    def given(self, rule: Rule) -> str:
        """The rule's value, or the tag that was pushed."""
        return self.say(rule.get("value")) if rule.get("value") else self.facts.after(TAGS)

    def schedule(self, rule: Rule) -> _Found | None:
        if "schedule" not in self.facts.event:
            return None
        names = expressions.dates_of(self.facts, source=self.source)
        return _Found(tag=self.dressed(rule, self.say(rule.get("pattern"), names)))

    def version(self, rule: Rule, read: Callable[[str], Version | None], kind: str) -> _Found | None:
        text = self.given(rule)
        if not text:
            return None
        if pattern := rule.get("match"):
            found = expression(pattern).search(text)
            if found:
                text = found[1] if found.re.groups else found[0]
            else:
                self.warnings.append(f"{pattern} does not match {text}")
        text = text.replace("/", "-")
        version = read(text)
        if version is None:
            self.warnings.append(f"{text} is no {kind} version")
            return None
        pattern = rule.get("pattern")
        if not (version.final or expressions.is_only(pattern, "raw")):
            pattern = "{{version}}"
        names = expressions.values(
            raw=version.raw,
            version=version.text,
            major=version.major,
            minor=version.minor,
            patch=version.patch,
            prerelease=version.prerelease,
            build=version.build,
        )
        return _Found(tag=self.dressed(rule, self.say(pattern, names)), latest=version.final)

    def semver(self, rule: Rule) -> _Found | None:
        return self.version(rule, parse_semver, "semantic")

    def pep440(self, rule: Rule) -> _Found | None:
        return self.version(rule, parse_pep440, "PEP 440")

    def match(self, rule: Rule) -> _Found | None:
        text, pattern, group = self.given(rule), rule.get("pattern"), int(rule.get("group"))
        if not text:
            return None
        found = expression(pattern).search(text)
        if not found:
            self.warnings.append(f"{pattern} does not match {text}")
            return None
        if group > found.re.groups or found[group] is None:
            self.warnings.append(f"{pattern} has no group {group}")
            return None
        return _Found(tag=self.dressed(rule, found[group]), latest=True)

    def edge(self, rule: Rule) -> _Found | None:
        branch = rule.get("branch") or self.facts.repository.default_branch
        if not branch or self.facts.after(HEADS) != branch:
            return None
        return _Found(tag=self.dressed(rule, "edge"))

    def ref(self, rule: Rule) -> _Found | None:
        event = rule.get("event")
        prefix = {"branch": HEADS, "tag": TAGS, "pr": PULL}[event]
        name = self.facts.after(prefix)
        if event == "pr":
            name = name.removesuffix("/merge")
        return _Found(tag=self.dressed(rule, name), latest=event == "tag") if name else None

    def raw(self, rule: Rule) -> _Found | None:
        return _Found(tag=self.dressed(rule, self.say(rule.get("value"))))

    def sha(self, rule: Rule) -> _Found | None:
        sha = self.facts.short_sha if rule.get("format") == "short" else self.facts.sha
        return _Found(tag=self.dressed(rule, sha)) if sha else None


_RULES: Mapping[Kind, Callable[[_Decision, Rule], _Found | None]] = {
    Kind.SCHEDULE: _Decision.schedule,
    Kind.SEMVER: _Decision.semver,
    Kind.PEP440: _Decision.pep440,
    Kind.MATCH: _Decision.match,
    Kind.EDGE: _Decision.edge,
    Kind.REF: _Decision.ref,
    Kind.RAW: _Decision.raw,
    Kind.SHA: _Decision.sha,
}
