"""`--call` in buildx's spellings."""

import pytest

from ci_buildx.errors import InputError
from ci_buildx.settings.calls import parse_call
from ci_buildx.settings.values import FrontendCall


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("build", None),
        ("check", FrontendCall(method="lint")),
        ("lint", FrontendCall(method="lint")),
        ("check,format=json", FrontendCall(method="lint", json=True)),
        ("format=text,outline", FrontendCall(method="outline")),
        ("check,ignorestatus=true", FrontendCall(method="lint", ignore_status=True)),
        ("targets,ignorestatus=0", FrontendCall(method="targets")),
        ("subrequests.describe", FrontendCall(method="subrequests.describe")),
    ],
)
def test_read(text: str, expected: FrontendCall | None) -> None:
    assert parse_call(text, source="--call") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chek", "--call: unknown method 'chek'; did you mean 'check'?"),
        ("check,outline", "--call: both 'check' and 'outline' cannot be combined; write check, outline or targets"),
        ("check,format=xml", "--call: unknown format 'xml'; "),
        ("check,fromat=json", "--call: unknown key 'fromat'; did you mean 'format'?"),
        ("check,ignorestatus=maybe", "--call ignorestatus: 'maybe' is neither true nor false; write true or false"),
        ('check,"', "--call: misplaced quote in "),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_call(text, source="--call")
    assert str(caught.value).startswith(said)
