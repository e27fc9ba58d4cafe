"""`--call` in buildx's spellings."""

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings.calls import parse_call
from ci_buildx.settings.values import Call


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("build", None),
        ("check", Call(method="lint")),
        ("lint", Call(method="lint")),
        ("check,format=json", Call(method="lint", json=True)),
        ("format=text,outline", Call(method="outline")),
        ("check,ignorestatus=true", Call(method="lint", ignore_status=True)),
        ("targets,ignorestatus=0", Call(method="targets")),
        ("subrequests.describe", Call(method="subrequests.describe")),
    ],
)
def test_read(text: str, expected: Call | None) -> None:
    assert parse_call(text, source="--call") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chek", "--call: unknown method 'chek'; did you mean 'check'?"),
        ("check,outline", "--call: both 'check' and 'outline' cannot be called; write check, outline or targets"),
        ("check,format=xml", "--call: unknown format 'xml'; "),
        ("check,fromat=json", "--call: unknown key 'fromat'; did you mean 'format'?"),
        ("check,ignorestatus=maybe", "--call: ignorestatus is neither true nor false: 'maybe'"),
        ('check,"', "--call: misplaced quote in "),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_call(text, source="--call")
    assert str(caught.value).startswith(said)
