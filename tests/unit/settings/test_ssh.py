"""`--ssh` in buildx's spellings, with real keys and sockets."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from ci_buildx.errors import InputError
from ci_buildx.model.secret import Secret
from ci_buildx.settings import ssh
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.ssh import parse_ssh
from ci_buildx.settings.values import SshSource

OPENSSH, PKCS1, PKCS8 = PrivateFormat.OpenSSH, PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
PLAIN = NoEncryption()


def parse(*texts: str, cwd: Path, **env: str) -> tuple[SshSource, ...]:
    return parse_ssh(texts, source="--ssh", env=env, cwd=cwd)


def a_key(encryption: KeySerializationEncryption = PLAIN, form: PrivateFormat = OPENSSH) -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, encryption)


def test_the_agent_of_the_environment(agent: Path) -> None:
    expected = (SshSource(id="default", socket=agent), SshSource(id="other", socket=agent))
    assert parse("default,other", cwd=Path("/"), SSH_AUTH_SOCK=str(agent)) == expected
    assert parse("default", "other=", cwd=Path("/"), SSH_AUTH_SOCK=str(agent)) == expected


def test_a_socket_and_keys(agent: Path) -> None:
    keys = [a_key(), a_key(form=PKCS8)]
    for number, key in enumerate(keys):
        (agent.parent / f"key{number}").write_bytes(key)
    assert parse("agent=agent", "keys=key0,key1", cwd=agent.parent) == (
        SshSource(id="agent", socket=agent),
        SshSource(id="keys", keys=tuple(map(Secret, keys))),
    )


@pytest.mark.parametrize("form", [OPENSSH, PKCS1, PKCS8])
def test_kinds_of_keys(form: PrivateFormat) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    ec_key = ec.generate_private_key(ec.SECP384R1())
    for key in (rsa_key, ec_key):
        ssh.load_key(key.private_bytes(Encoding.PEM, form, PLAIN))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default", "--ssh: 'default': SSH agent not found: SSH_AUTH_SOCK is not set; start one (eval $(ssh-agent))"),
        ("=key", "--ssh: 'default': cannot read "),
        ("a=absent", "--ssh: 'a': cannot read "),
        ("a=locked", "--ssh: 'a': the key "),
        ("a=pem", "--ssh: 'a': the key "),
        ("a=text", "--ssh: 'a': "),
        ("a=x25519", "--ssh: 'a': "),
        ("a=folder", "--ssh: 'a': cannot read "),
        ("a=agent,good", "--ssh: 'a': a socket cannot be combined with others; name one socket, or only keys"),
        ("a=good,agent", "--ssh: 'a': a socket cannot be combined with others"),
    ],
)
def test_refused(agent: Path, text: str, said: str) -> None:
    folder = agent.parent
    (folder / "good").write_bytes(a_key())
    (folder / "locked").write_bytes(a_key(BestAvailableEncryption(b"passphrase")))
    (folder / "pem").write_bytes(a_key(BestAvailableEncryption(b"passphrase"), PKCS8))
    (folder / "text").write_text("no key")
    x_key = x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PKCS8, PLAIN)
    (folder / "x25519").write_bytes(x_key)
    (folder / "folder").mkdir()
    with pytest.raises(InputError) as caught:
        parse(text, cwd=folder)
    assert str(caught.value).startswith(said)
    if text in ("a=locked", "a=pem"):
        assert "has a passphrase; add it to an agent (ssh-add " in str(caught.value)
    if text in ("a=text", "a=x25519"):
        assert "is not an SSH key; name a private key" in str(caught.value)


def test_one_id_twice(agent: Path) -> None:
    with pytest.raises(InputError, match="--ssh: 'default' is set twice"):
        parse("default", "default=agent", cwd=agent.parent, SSH_AUTH_SOCK=str(agent))


def test_the_variable_names_no_socket(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--ssh: SSH_AUTH_SOCK: 'default': .*file' is neither a socket nor a usable "):
        parse("default", cwd=tmp_path, SSH_AUTH_SOCK="file")


def test_the_variable_may_name_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(a_key())
    (source,) = parse("default", cwd=tmp_path, SSH_AUTH_SOCK="key")
    assert source.socket is None
    assert [key.reveal() for key in source.keys] == [(tmp_path / "key").read_bytes()]


@pytest.mark.parametrize("context", ["git@host.example:team/app.git", "ssh://git@host.example/app.git#main"])
def test_a_context_by_ssh_needs_an_agent(context: str, agent: Path) -> None:
    given = make_settings({"context": context}, {}, {"SSH_AUTH_SOCK": str(agent)}, Path("/"))
    assert given.build.ssh == (SshSource(id="default", socket=agent),)
    with pytest.raises(InputError, match=r"^PATH\|URL: 'default': SSH agent not found"):
        make_settings({"context": context}, {"context": "PATH|URL"}, {}, Path("/"))
