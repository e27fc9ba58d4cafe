"""Which build arguments are secrets, by their names."""

from __future__ import annotations

import pytest

from ci_buildx.model.masker import without
from ci_buildx.settings.pairs import secret_values

VALUE = "a-long-value"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("TOKEN", True),
        ("NPM_TOKEN", True),
        ("npm_token_ci", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("credentials", True),
        ("TOKENIZER", False),
        ("PUBLIC_KEY", False),
        ("KEY_FILE", False),
        ("TOKEN_VERSION", False),
        ("VERSION", False),
    ],
)
def test_names(name: str, secret: bool) -> None:
    assert secret_values(((name, VALUE),)) == ((VALUE,) if secret else ())


def test_texts_without_them() -> None:
    assert without(f'"/{VALUE}": not found', (VALUE,)) == '"/***": not found'


def test_the_longest_goes_first_and_short_ones_are_words() -> None:
    arguments = (("TOKEN", "12345678"), ("PASSWORD", "123456789"), ("AUTH", "true"))
    assert secret_values(arguments) == ("123456789", "12345678")
