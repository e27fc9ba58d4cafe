from pathlib import Path

import pytest

from ci_buildx.errors import InputError
from ci_buildx.registry.trust import RegistryTrust, is_local_host, read_trust

CONFIG = """
debug = true
[registry."plain.example:5000"]
http = true
[registry."either.example:5000"]
http = true
insecure = true
[registry."docker.io"]
mirrors = ["mirror.example"]
[registry."own.example"]
ca = ["/etc/own.pem", "/etc/other.pem"]
[registry."localhost:5001"]
http = false
"""


def test_what_buildkitd_is_told() -> None:
    assert read_trust(CONFIG) == RegistryTrust(
        plain=frozenset({"plain.example:5000", "either.example:5000"}),
        insecure=frozenset({"either.example:5000"}),
        secured=frozenset({"localhost:5001"}),
        authorities={"own.example": (Path("/etc/own.pem"), Path("/etc/other.pem"))},
        mirrors=frozenset({"mirror.example"}),
    )
    assert read_trust(CONFIG).plain == {"plain.example:5000", "either.example:5000"}
    assert read_trust("") == RegistryTrust()


@pytest.mark.parametrize(
    ("host", "plain", "tls_first"),
    [
        ("plain.example:5000", True, False),
        ("either.example:5000", True, True),
        ("own.example", False, True),
        ("docker.io", False, True),
        ("localhost:5000", True, False),
        ("localhost:5001", False, True),
        ("127.0.0.1", True, False),
        ("127.8.9.10:5000", True, False),
        ("[::1]:5000", True, False),
        ("127.0.0.1.example", False, True),
        ("localhost.example:5000", False, True),
    ],
)
def test_how_to_speak(host: str, plain: bool, tls_first: bool) -> None:
    trust = read_trust(CONFIG)
    assert (trust.allows_plain(host), trust.should_prefer_tls(host)) == (plain, tls_first)


def test_local_hosts() -> None:
    assert [host for host in ("localhost", "127.1.1.1:1", "::1", "[::1]", "10.0.0.1", "") if is_local_host(host)] == [
        "localhost",
        "127.1.1.1:1",
        "[::1]",
    ]


@pytest.mark.parametrize(
    "text",
    ["[registry", "registry = 1", '[registry]\n"x" = 1', '[registry."x"]\nca = "file"', '[registry."x"]\nca = [1]'],
)
def test_malformed(text: str) -> None:
    with pytest.raises(InputError, match="buildkitd config: "):
        read_trust(text)
