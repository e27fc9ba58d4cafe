"""Which build arguments are secrets, by their names."""

from __future__ import annotations

import pytest

from ci_buildx.model.masker import find_pair_secrets, list_spellings, mask_secrets

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
    assert list(find_pair_secrets(name, VALUE)) == ([VALUE] if secret else [])


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("HTTP_PROXY", "http://ann:hunter22@proxy.example:3128", ["hunter22"]),
        ("https_proxy", "ann:hunter22@proxy.example:3128", ["hunter22"]),
        ("HTTP_PROXY", "proxy.example:3128", []),
        ("URL", "https://h.example/?X-Amz-Signature=0a1b2c3d", ["0a1b2c3d"]),
        ("MAIL", "ann:team@h.example", []),
    ],
)
def test_logins_in_values(name: str, value: str, secret: list[str]) -> None:
    assert list(find_pair_secrets(name, value)) == secret


def test_texts_without_them() -> None:
    assert mask_secrets(f'"/{VALUE}": not found', (VALUE,)) == '"/***": not found'


def test_the_longest_goes_first_and_short_ones_are_words() -> None:
    arguments = (("TOKEN", "12345678"), ("PASSWORD", "123456789"), ("AUTH", "true"))
    found = [value for name, text in arguments for value in find_pair_secrets(name, text)]
    assert found == ["12345678", "123456789"]
    assert mask_secrets("123456789 12345678 true", list_spellings(found)) == "*** *** true"
