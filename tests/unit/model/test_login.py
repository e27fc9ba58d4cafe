"""Logins in URLs: what is one, and what only looks like one."""

import pytest

from ci_buildx.model.plaintext import find_logins, mask_logins, redact_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ann:p@git.example/x", "https://***@git.example/x"),
        (f"https://{'t' * 40}@git.example/x", "https://***@git.example/x"),
        ("HTTP://Ann:p@PROXY.example:3128", "HTTP://***@PROXY.example:3128"),
        ("https://ann:p@[::1]:5000/x", "https://***@[::1]:5000/x"),
        (r'{"u":"https:\/\/ann:p@git.example\/x"}', r'{"u":"https:\/\/***@git.example\/x"}'),
        ("user ann:pass-word@git.example failed", "user ***@git.example failed"),
        ("proxy ann:pass-word@proxy:3128/", "proxy ***@proxy:3128/"),
        ("'//ann:pass-word@git.example/x'", "'//***@git.example/x'"),
        ("'ann:pass-word@proxy' is not a registry host", "'***@proxy' is not a registry host"),
        ("'ann:pass-word@10.0.0.1' and 'ann:pass-word@3-proxies/'", "'***@10.0.0.1' and '***@3-proxies/'"),
        ("https://h/x?token='abc'", "https://h/x?token=***'"),
        *(
            (text, text)
            for text in (
                "npm:lodash@4.17.21",
                "npm:next@canary.example",
                "'workspace:app@1.2.3' and 'jest:ts-jest@29.1.0-beta.1'",
                "uses: app:build@v4/action",
                "mailto:ann@team.example",
                "app:1.2@sha256:0",
                "12:30@noon",
                "git@git.example:team/app",
            )
        ),
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


def test_an_annotation_names_no_login() -> None:
    for url in ("https://ann:p@git.example/x", "ann:p@git.example/x"):
        assert redact_url(url).removeprefix("https://") == "xxxxx:xxxxx@git.example/x"
