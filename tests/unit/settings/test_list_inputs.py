"""Lists that come as one text: each input is read as the docker action reads it that has this input.

The table is docker/build-push-action 7.3.0 ``src/context.ts``, setup-buildx-action 4.1 and metadata-action 6.2
``src/context.ts``; the values follow the reader that they share, docker/actions-toolkit 0.95.0 ``src/util.ts``
(getList), whose own tests have the same examples.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_buildx.ci import inputs
from ci_buildx.errors import InputError
from ci_buildx.settings.raw_values import RawValues
from ci_buildx.settings.syntax import split_records

WORDS = ("add-hosts", "allow", "no-cache-filters", "platforms", "tags", "secret-envs")
VALUES = ("annotations", "build-args", "build-contexts", "labels", "ulimit", "secret-files", "ssh")
ARE_CSV = ("attests", "cache-from", "cache-to", "images", "tag-rules", "flavor")
PLAIN = ("outputs", "driver-opts")


def read(name: str, text: str, *, comments: bool = False) -> list[str]:
    return RawValues({name: text}, {name: f"input {name}"}, {}, Path("/"), inputs.BY_NAME).read_texts(
        name, comments=comments
    )


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a, b,", ["a", "b"]),
        ("a\n\nb\r\nc,d", ["a", "b", "c", "d"]),
        ('"a","b"', ["a", "b"]),
        ('a\n"b,c"', ["a", "b", "c"]),
        ('"b,c",d', ["b,c", "d"]),
        ('say "a"', ['say "a"']),
    ],
)
def test_words(name: str, text: str, expected: list[str]) -> None:
    assert read(name, text) == expected


@pytest.mark.parametrize("name", [*VALUES, *ARE_CSV, "secrets"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1,2", ["a=1,2"]),
        ("a=1\n\nb=2", ["a=1", "b=2"]),
        ('"a=22.04"', ["a=22.04"]),
        ('"a=1,2"', ["a=1,2"]),
        ('"a=first\nsecond ""line"""\nb=2', ['a=first\nsecond "line"', "b=2"]),
        ('"a=\n\n  x"', ["a=\n\n  x"]),
        ('a="quoted"', ['a="quoted"']),
        ('a={"k":1,"l":[2]}', ['a={"k":1,"l":[2]}']),
        ('"a" b', ['"a" b']),
        ("a=\u2028b\x0bc", ["a=\u2028b\x0bc"]),
        ("a=#1", ["a=#1"]),
    ],
)
def test_values(name: str, text: str, expected: list[str]) -> None:
    assert read(name, text) == expected


@pytest.mark.parametrize("name", VALUES)
def test_quoted_fields_of_a_value_lose_their_quotes(name: str) -> None:
    assert read(name, 'a=1,"b=2,3",c') == ["a=1,b=2,3,c"]


@pytest.mark.parametrize("name", ARE_CSV)
def test_fields_of_a_value_that_is_csv_itself_stay_fields(name: str) -> None:
    """The reader of docker's actions loses these quotes, and buildx then refuses what is left."""
    assert read(name, 'type=s3,"prefix=a,b",c') == ['type=s3,"prefix=a,b",c']


@pytest.mark.parametrize("name", PLAIN)
def test_quotes_that_buildx_reads_itself_stay(name: str) -> None:
    output = 'type=image,"name=r.example/a,r.example/b",push=true'
    assert read(name, f' {output}\n\n"env.no_proxy=a,b"') == [output, '"env.no_proxy=a,b"']


def test_white_space_of_a_secret_counts() -> None:
    assert read("secrets", '"KEY=one\ntwo\n\n"\nTOKEN=a  \n  \n') == ["KEY=one\ntwo\n\n", "TOKEN=a  "]


def test_a_secret_from_a_file_keeps_the_quotes_of_its_path() -> None:
    assert read("secrets", 'id=a,"src=x,y"') == ['id=a,"src=x,y"']


@pytest.mark.parametrize("name", ["images", "tag-rules", "flavor"])
def test_comments_where_metadata_action_takes_them(name: str) -> None:
    assert read(name, "# none\na=b#c\n#\nd=e") == ["a=b#c", "d=e"]


@pytest.mark.parametrize("name", ["labels", "annotations"])
def test_comments_where_labels_are_metadata_actions(name: str) -> None:
    """Beside ``images``; build-push-action's own input has no comments."""
    text = '# none\na=b#c\n"#d"=e'
    assert read(name, text, comments=True) == ["a=b#c", '"#d"=e']
    assert read(name, text) == ["# none", "a=b#c", '"#d"=e']


@pytest.mark.parametrize("name", [*WORDS, *VALUES, *ARE_CSV, "secrets"])
def test_a_quote_that_is_not_closed(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read(name, 'a=1\n"TOKEN=hunter2\n')
    assert str(caught.value).startswith(f"input {name}: unclosed quote; close it")
    assert "hunter2" not in str(caught.value)


def test_an_empty_field_at_the_end_is_a_field() -> None:
    assert split_records('a,\n,b\n"",\n') == [["a", ""], ["", "b"], ["", ""]]


def test_a_large_quoted_secret_is_read_at_once() -> None:
    text = "x" * 400_000 + '""' * 50_000
    assert read("secrets", f'"KEY={text}"') == ["KEY=" + text.replace('""', '"')]
