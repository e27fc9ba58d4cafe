"""Forwarded SSH agents, over the wire: keys of our own, and a socket that is asked nothing it should not be."""

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.model.secret import Secret
from ci_buildx.session import ssh as session_ssh
from ci_buildx.session.call import GrpcStatus
from ci_buildx.session.ssh import SocketSshAgent, SshService
from ci_buildx.session.ssh_keyring import SshKeyring
from tests.unit.session import daemon
from tests.unit.session.conversation import Conversation

CHECK = "/moby.sshforward.v1.SSH/CheckAgent"
FORWARD = "/moby.sshforward.v1.SSH/ForwardAgent"
LIST = b"\x0b"
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
CURVES = [ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)]
KEYS: list[Any] = [ED25519, RSA, *CURVES]


def secret(key: Any) -> Secret:
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


def public(key: Any) -> bytes:
    return base64.b64decode(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1])


@pytest.fixture(scope="module")
def keyring() -> SshKeyring:
    """A keyring with all ``KEYS``."""
    return SshKeyring([secret(key) for key in KEYS])


def ask(ssh: SshService, *requests: bytes, name: str = "") -> list[bytes]:
    """The answers to requests, which come cut at the wrong places."""
    conversation = Conversation(ssh)
    stream = b"".join(session_ssh.encode_text(request) for request in requests)
    pieces = [daemon.wrap(stream[start : start + 7]) for start in range(0, len(stream), 7)]
    number = conversation.call(FORWARD, *pieces, metadata=[("buildkit.ssh.id", name)])
    answer = conversation.hear(number)
    assert answer.status == "0", answer.trailers
    return list(session_ssh.AgentRequests().feed(b"".join(map(daemon.unwrap, answer.messages))))


def signed(key: Any, data: bytes, flags: int = 0) -> bytes:
    return (
        bytes((session_ssh.SIGN_REQUEST,))
        + session_ssh.encode_text(public(key))
        + session_ssh.encode_text(data)
        + session_ssh.encode_count(flags)
    )


def signature(answer: bytes) -> tuple[bytes, bytes]:
    """The algorithm and the signature."""
    assert answer[0] == session_ssh.SIGN_RESPONSE
    blob, rest = session_ssh.take_text(answer[1:])
    assert rest == b""
    name, rest = session_ssh.take_text(blob)
    value, rest = session_ssh.take_text(rest)
    assert rest == b""
    return name, value


def test_the_keys(keyring: SshKeyring) -> None:
    (answer,) = ask(SshService({"default": keyring}), LIST)
    assert answer[:5] == bytes((session_ssh.IDENTITIES_ANSWER,)) + session_ssh.encode_count(len(KEYS))
    assert answer[5:] == b"".join(session_ssh.encode_text(public(key)) + session_ssh.encode_text(b"") for key in KEYS)


def test_signatures(keyring: SshKeyring) -> None:
    ssh = SshService({"a": keyring})
    requests = [signed(ED25519, b"data"), *(signed(RSA, b"data", flags) for flags in (0, 2, 4))]
    answers = [signature(answer) for answer in ask(ssh, *requests, *(signed(key, b"data") for key in CURVES), name="a")]
    assert answers[0][0] == b"ssh-ed25519"
    ED25519.public_key().verify(answers[0][1], b"data")
    kinds = [(b"ssh-rsa", hashes.SHA1()), (b"rsa-sha2-256", hashes.SHA256()), (b"rsa-sha2-512", hashes.SHA512())]
    for (name, value), (expected, algorithm) in zip(answers[1:4], kinds, strict=True):
        assert name == expected
        RSA.public_key().verify(value, b"data", padding.PKCS1v15(), algorithm)
    hashed = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
    for key, (name, value), algorithm in zip(CURVES, answers[4:], hashed, strict=True):
        assert name == f"ecdsa-sha2-nistp{key.curve.key_size}".encode()
        r, rest = session_ssh.take_text(value)
        s, _ = session_ssh.take_text(rest)
        der = encode_dss_signature(int.from_bytes(r, "big", signed=True), int.from_bytes(s, "big", signed=True))
        key.public_key().verify(der, b"data", ec.ECDSA(algorithm))


def test_what_is_refused(keyring: SshKeyring) -> None:
    stranger = ed25519.Ed25519PrivateKey.generate()
    add, remove_all, lock, extension = b"\x11key", b"\x13", b"\x16", b"\x1b"
    answers = ask(SshService({"default": keyring}), signed(stranger, b""), add, remove_all, lock, extension, b"", LIST)
    assert answers[:6] == [session_ssh.FAILURE] * 6
    assert answers[6][0] == session_ssh.IDENTITIES_ANSWER


@pytest.mark.parametrize(("name", "found"), [("default", True), ("", True), ("other", False)])
def test_which_agents_there_are(keyring: SshKeyring, name: str, found: bool) -> None:
    conversation = Conversation(SshService({"default": keyring}))
    answer = conversation.ask(CHECK, daemon.wrap(name.encode()))
    assert answer.status == ("0" if found else str(int(GrpcStatus.UNKNOWN)))
    if not found:
        assert answer.trailers["grpc-message"] == "no SSH agent 'other' is forwarded; add --ssh other"
        again = conversation.hear(conversation.call(FORWARD, daemon.wrap(b""), metadata=[("buildkit.ssh.id", name)]))
        assert again.trailers["grpc-message"] == answer.trailers["grpc-message"]


@contextmanager
def listening(path: Path, answers: dict[bytes, bytes]) -> Iterator[list[bytes]]:
    """A socket that is asked like an agent; yields what it was asked. Without an answer it hangs up."""
    asked: list[bytes] = []

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            requests = session_ssh.AgentRequests()
            while data := connection.recv(100):
                for request in requests.feed(data):
                    asked.append(request)
                    if request not in answers:
                        return
                    connection.sendall(session_ssh.encode_text(answers[request]))

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        yield asked
        thread.join(10)


def test_a_socket_is_asked_only_what_is_allowed(tmp_path: Path) -> None:
    answers = {LIST: b"\x0c" + session_ssh.encode_count(0), signed(RSA, b"x"): b"\x0e" + b"long" * 10000}
    with listening(tmp_path / "s", answers) as asked:
        found = ask(
            SshService({"default": SocketSshAgent(tmp_path / "s")}), b"\x11add", LIST, b"\x13", signed(RSA, b"x")
        )
    assert asked == list(answers)
    assert found == [session_ssh.FAILURE, answers[LIST], session_ssh.FAILURE, answers[signed(RSA, b"x")]]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [(None, "No such file or directory"), ({}, "it closed the connection")],
)
def test_an_agent_that_does_not_answer(tmp_path: Path, answers: dict[bytes, bytes] | None, reason: str) -> None:
    conversation = Conversation(SshService({"default": SocketSshAgent(tmp_path / "s")}))
    if answers is None:
        answer = conversation.hear(conversation.call(FORWARD, daemon.wrap(session_ssh.encode_text(LIST))))
    else:
        with listening(tmp_path / "s", answers):
            answer = conversation.hear(conversation.call(FORWARD, daemon.wrap(session_ssh.encode_text(LIST))))
    assert answer.status == str(int(GrpcStatus.UNKNOWN))
    assert answer.trailers["grpc-message"] == f"cannot connect to the SSH agent at {tmp_path}/s: {reason}"


def test_a_message_that_is_too_long_ends_the_call(keyring: SshKeyring) -> None:
    conversation = Conversation(SshService({"default": keyring}))
    answer = conversation.hear(conversation.call(FORWARD, daemon.wrap(b"\xff\xff\xff\xff"), end=False))
    assert answer.status == str(int(GrpcStatus.INVALID_ARGUMENT))


@given(pieces=st.lists(st.binary(max_size=20), max_size=10))
def test_any_bytes_are_cut_the_same_whatever_the_pieces(pieces: list[bytes]) -> None:
    def cut(parts: list[bytes]) -> list[bytes] | None:
        requests = session_ssh.AgentRequests()
        try:
            return [message for part in parts for message in requests.feed(part)]
        except ValueError:
            return None

    assert cut(pieces) == cut([b"".join(pieces)])


@given(request=st.binary(max_size=60))
def test_any_request_is_answered_or_refused(keyring: SshKeyring, request: bytes) -> None:
    for kind in (b"", b"\x0d", b"\x0d" + session_ssh.encode_text(public(ED25519))):
        try:
            assert keyring.answer(kind + request)[0] in (5, 12, 14)
        except ValueError as error:
            assert "cut off" in str(error)
