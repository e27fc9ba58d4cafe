"""What metadata-action's own examples leave out: formats of dates, versions, expressions, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.ci.metadata import expressions, metadata
from ci_buildx.ci.metadata.facts import CommitFacts
from ci_buildx.ci.metadata.metadata import MetadataInputs
from ci_buildx.ci.metadata.rules import compile_expression, parse_flavor, parse_images, parse_rules
from ci_buildx.ci.metadata.tagging import parse_pep440, parse_semver
from ci_buildx.errors import InputError

WHEN = datetime(2024, 2, 9, 15, 4, 5, 67_000, tzinfo=UTC)
FACTS = CommitFacts(event="push", ref="refs/heads/feature/x", sha="0123456789abcdef", now=WHEN, commit_date=WHEN)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("YYYY-MM-DD[T]HH:mm:ss.SSS[Z]", "2024-02-09T15:04:05.067Z"),
        ("YY M D H h m s", "24 2 9 15 3 4 5"),
        ("MMMM MMM Mo Do", "February Feb 2nd 9th"),
        ("dddd ddd dd d E", "Friday Fri Fr 5 5"),
        ("DDDD DDD Q Qo", "040 40 1 1st"),
        ("GGGG-[W]WW", "2024-W06"),
        ("hh:mm A a kk", "03:04 PM pm 15"),
        ("Z ZZ z", "+00:00 +0000 UTC"),
        ("X x", "1707491045 1707491045067"),
        ("L LT", "02/09/2024 3:04 PM"),
        ("LLLL", "Friday, February 9, 2024 3:04 PM"),
        ("", "2024-02-09T15:04:05Z"),
    ],
)
def test_dates_are_written_as_moment_writes_them(pattern: str, expected: str) -> None:
    assert expressions.format_date(WHEN, pattern) == expected


def test_a_zone_has_its_own_clock() -> None:
    assert expressions.format_date(expressions.convert_zone(WHEN, "Asia/Tokyo", source="x"), "YYYYMMDD-HHmmss Z") == (
        "20240210-000405 +09:00"
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("v1.2.3", "1.2.3"),
        ("1.2.3-rc.1+build.5", "1.2.3-rc.1"),
        ("1.2", None),
        ("01.2.3", None),
        ("1.2.3-01", None),
        ("9007199254740992.0.0", None),
        ("x1.2.3", None),
    ],
)
def test_semantic_versions(text: str, canonical: str | None) -> None:
    found = parse_semver(text)
    assert (found.text if found else None) == canonical


@pytest.mark.parametrize(
    ("text", "canonical", "final"),
    [
        ("1.0", "1.0", True),
        ("v1.0", "1.0", True),
        ("1!2.0", "1!2.0", True),
        ("1.0-ALPHA.1", "1.0a1", False),
        ("1.0c2", "1.0rc2", False),
        ("1.0-1", "1.0.post1", False),
        ("1.0rev", "1.0.post0", False),
        ("1.0.dev4", "1.0.dev4", False),
        ("1.0+Ubuntu_01", "1.0+ubuntu.1", True),
        ("1.0.x", None, False),
    ],
)
def test_python_versions(text: str, canonical: str | None, final: bool) -> None:
    found = parse_pep440(text)
    assert (found.text if found else None) == canonical
    assert (found.final if found else False) == final


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{branch}}", "feature/x"),
        ("{{ sha }}-{{tag}}", "0123456-"),
        ("a{{date 'YYYY'}}b{{{branch}}}", "a2024bfeature/x"),
        ('{{date "YYYYMMDD" tz="Asia/Tokyo"}}', "20240210"),
        ("{{is_default_branch}} {{is_not_default_branch}}", "false true"),
        ("no {braces}", "no {braces}"),
    ],
)
def test_expressions(text: str, expected: str) -> None:
    assert expressions.evaluate(text, expressions.make_global_values(FACTS, source="x"), source="x") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{brnch}}", "unknown expression {{brnch}}; did you mean 'branch'?"),
        ("{{date 'YYYY' zone='UTC'}}", "unknown attribute 'zone' of {{date}}; use tz"),
        ("{{date 'YYYY' tz='Mars/Base'}}", "unknown time zone 'Mars/Base'"),
    ],
)
def test_wrong_expressions_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        expressions.evaluate(text, expressions.make_global_values(FACTS, source="tag-rules"), source="tag-rules")
    assert str(caught.value).startswith(f"tag-rules: {message}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("type=semvr", "unknown type 'semvr'; did you mean 'semver'?"),
        ("type=semver", "'type=semver' requires pattern; write type=semver,pattern=…"),
        ("type=ref,event=merge", "unknown event 'merge'"),
        ("type=sha,format=tiny", "unknown format 'tiny'"),
        ("type=raw,value=x,patern=y", "unknown attribute 'patern' of type=raw"),
        ("type=match,pattern=(", "pattern '(' is not a valid regular expression"),
        ("type=match,pattern=a,group=x", "group 'x' is not a number"),
        ("type=raw,value=x,priority=high", "priority 'high' is not a number"),
        ('type=raw,value="x', "misplaced quote"),
    ],
)
def test_wrong_rules_are_named(line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_rules([line], source="tag-rules")
    assert str(caught.value).startswith(f"tag-rules: {message}")


@pytest.mark.parametrize("line", ["latest=maybe", "onlatest=true", "colour=red", "latest"])
def test_wrong_flavors_are_named(line: str) -> None:
    with pytest.raises(InputError, match=r"^flavor: "):
        parse_flavor([line], source="flavor")


def test_comments_and_names_of_images() -> None:
    assert parse_images(["# ours", "name=Ghcr.Example/App,enable=false", "name=b/App"], source="images") == ("b/app",)
    assert parse_images(["a/b,c/d"], source="images") == ("a/b", "c/d")
    with pytest.raises(InputError, match="has no image name"):
        parse_images(["enable=true"], source="images")


@pytest.mark.parametrize(
    ("pattern", "text", "group"),
    [("v(\\d+)", "v12", "12"), ("/V(\\d)/i", "v1", "1"), ("(?<major>\\d)\\.", "1.2", "1")],
)
def test_regular_expressions_are_javascripts(pattern: str, text: str, group: str) -> None:
    found = compile_expression(pattern).search(text)
    assert found
    assert found[1] == group


def test_a_rule_that_does_not_fit_is_a_warning() -> None:
    made = metadata.make_metadata(MetadataInputs(rules=("type=semver,pattern={{version}},value=one",)), FACTS)
    assert (made.tags, made.warnings) == ((), ("one is not a semantic version",))


@given(st.lists(st.text(alphabet="type=rawsh,{}'\"#\\ ()[", max_size=30), max_size=4))
def test_whatever_is_written_it_is_rules_or_one_clear_error(lines: list[str]) -> None:
    try:
        metadata.make_metadata(MetadataInputs(images=("a/b",), rules=lines, labels=lines), FACTS)
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize(
    "text",
    [
        "{{#if branch}}a{{/if}}",
        "{{else}}{{^x}}",
        "{{! no comment }}",
        "{{> partial}}",
        "{{&branch}}",
        "{{~branch~}}",
        "{{-branch}}",
        "{{branch",
        "{{{branch}}",
        "{{../branch}}",
        "{{.Version}}",
        "{{date (lookup x)}}",
        "{{date 'YYYY' | upper}}",
        "\\{{branch}}",
        "{{branch}}-{{#each x}}",
        "{{}}",
    ],
)
@pytest.mark.parametrize(
    "rule",
    [
        "type=raw,value=x,suffix=-{}",
        "type=semver,pattern={}",
        "type=schedule,pattern={}",
        "type=raw,enable={},value=x",
    ],
)
def test_handlebars_that_are_not_known_never_become_a_tag(text: str, rule: str) -> None:
    """Also those of a rule that does not apply today."""
    with pytest.raises(InputError) as caught:
        metadata.make_metadata(MetadataInputs(images=["r.example/app"], rules=[rule.replace("{}", text)]), FACTS)
    assert str(caught.value).startswith("tag-rules: un")
    assert "expression" in str(caught.value)


def test_braces_of_a_regular_expression_are_no_handlebars() -> None:
    made = metadata.make_metadata(MetadataInputs(rules=['type=match,"pattern=[a-f]{{1,2}",value=ab']), FACTS)
    assert made.tags == ()


def tag_with(*flavor: str) -> tuple[str, ...]:
    facts = CommitFacts(event="push", ref="refs/tags/v1.1.1", sha=FACTS.sha, now=WHEN, commit_date=WHEN)
    wanted = MetadataInputs(images=(), rules=("type=semver,pattern={{version}}",), flavor=flavor)
    return metadata.make_metadata(wanted, facts).tags


def test_expressions_in_a_flavor_are_evaluated_in_every_tag() -> None:
    assert tag_with("prefix={{tag}}-,onlatest=true", "suffix=-{{sha}},onlatest=true") == (
        "v1.1.1-1.1.1-0123456",
        "v1.1.1-latest-0123456",
    )
    assert tag_with("suffix=-{{sha}}") == ("1.1.1-0123456", "latest")


@pytest.mark.parametrize("text", ["{{#if branch}}x-{{/if}}", "{{> part}}", "{{nonsense}}-", "\\{{tag}}-"])
@pytest.mark.parametrize("key", ["prefix", "suffix"])
@pytest.mark.parametrize("more", ["", ",onlatest=true"])
def test_handlebars_that_is_not_known_in_a_flavor_is_refused(text: str, key: str, more: str) -> None:
    with pytest.raises(InputError, match=r"unsupported expression|unknown expression"):
        tag_with(f"{key}={text}{more}")
