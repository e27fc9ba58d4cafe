"""Logins in URLs: what is one, and what only looks like one."""

import pytest

from ci_buildx.model.plaintext import find_logins, mask_logins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ann:p@git.example/x", "https://***@git.example/x"),
        (f"https://{'t' * 40}@git.example/x", "https://***@git.example/x"),
        *(
            (text, text)
            for text in ("https://git@git.example/x", "ssh://git@git.example:22/x", "FROM a.example/b:1@sha256:0")
        ),
        *(
            (text, text)
            for text in ("docker-image://busybox:1@sha256:0", "http://h:80/a@b", "git@git.example:team/app")
        ),
    ],
)
def test_logins_of_urls(text: str, expected: str) -> None:
    assert mask_logins(text) == expected


def test_what_is_secret_in_them() -> None:
    text = f"https://ann:p@ss@git.example/x http://{'t' * 40}@h/ base=docker-image://alpine:latest@sha256:0"
    assert list(find_logins(text)) == ["p@ss", "t" * 40]
