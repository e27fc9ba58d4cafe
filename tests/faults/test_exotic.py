"""Failures that users meet once a year: each ends with one line that says what, where and what to do."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from devcluster import layout
from devcluster.buildkitd import section
from devcluster.relay import relaying_kubeconfig
from tests.e2e.cluster import Builders
from tests.e2e.product import Product, Run
from tests.faults.registry import Scripted, serving
from tests.faults.victim import DOCKERFILE, Victim

PASSWORD = "seeded-5b1e"
LARGEST_SECRET = 500 * 1024
LARGE = 1 << 30
"""Bytes of a sparse file that takes a while to send."""


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """Where the faults happen: a builder that is kept for all of them, registries with faults, real ones."""

    product: Product
    builder: str
    failing: Scripted
    untrusted: Scripted
    registries: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``dockerfile`` and ``options`` may name the registries; ``said`` is the whole of the last line.

    ``early`` is that line if the registry was asked before the build came to it, which depends on the machine.
    """

    name: str
    said: str
    early: str = ""
    dockerfile: str = "FROM {open}/library/busybox\n"
    options: tuple[str, ...] = ()
    code: int = 1
    files: dict[str, int] = field(default_factory=dict)
    prepare: Callable[[Grounds], None] = lambda _: None


def tokens_for_a_start(grounds: Grounds) -> None:
    """Enough for what is asked for at the beginning; after the steps there are no more."""
    grounds.failing.tokens[:] = ["of the cache", "of the question before the build"]


PUSH = ("--push", "--tag")
FAULTS = (
    Fault(
        name="registry-401",
        options=(*PUSH, "{basic}/e2e/nobody:1"),
        early=r"ERROR: pushing to {basic}/e2e/nobody\b.*; log in to {basic} \(docker login\) or set DOCKER_AUTH_CONFIG",
        said=r"ERROR: failed to solve: .*{basic}.*: 401 Unauthorized; "
        r"log in to {basic} \(docker login\) or set DOCKER_AUTH_CONFIG",
    ),
    Fault(
        name="registry-403",
        options=(*PUSH, "{failing}/fails-403/x:1"),
        early=r"ERROR: pushing to {failing}/fails-403/x\b.*; the login 'me' for {failing} is wrong or .*",
        said=r"ERROR: failed to solve: failed to push {failing}/fails-403/x:1: denied; "
        r"the login 'me' for {failing} is wrong or has insufficient permissions",
    ),
    Fault(
        name="one-of-several-tags",
        early=r"ERROR: pushing to {failing}/fails-403/x\b.*; the login 'me' for {failing} is wrong or .*",
        options=(*PUSH, "{open}/e2e/exotic:1", "--tag", "{failing}/fails-403/x:1", "--tag", "{open}/e2e/exotic:2"),
        said=r"ERROR: failed to solve: failed to push {failing}/fails-403/x:1: denied "
        r"\(pushed already: {open}/e2e/exotic:1\); "
        r"the login 'me' for {failing} is wrong or has insufficient permissions",
    ),
    Fault(
        name="registry-404",
        dockerfile="FROM {open}/library/nonesuch:1\n",
        early=r"ERROR: reading {open}/library/nonesuch:1\b.*; check the name and the tag of {open}/library/nonesuch:1",
        said=r"ERROR: failed to solve: {open}/library/nonesuch:1: .*not found; "
        r"check the name and the tag of {open}/library/nonesuch:1",
    ),
    Fault(
        name="registry-429",
        dockerfile="FROM {failing}/fails-429/x:1\n",
        said=r"ERROR: failed to solve: .*{failing}/fails-429/x.*429 Too Many Requests; "
        r"try again later or use a mirror",
    ),
    Fault(
        name="registry-500",
        options=(*PUSH, "{failing}/fails-500/x:1"),
        said=r"ERROR: failed to solve: .*{failing}.*500 Internal Server Error; {failing} itself failed: .+",
    ),
    Fault(
        name="unknown-tls",
        dockerfile="FROM {untrusted}/library/x:1\n",
        said=r"ERROR: failed to solve: .*{untrusted}.*x509: certificate signed by unknown authority; "
        r'declare \[registry\."{untrusted}"\] ca \(its authority\) or insecure = true '
        r"in the --buildkitd-config that builder \S+ is created with",
    ),
    Fault(
        name="token-expired-in-the-middle",
        dockerfile="FROM {open}/library/busybox\nRUN sleep 3\n",
        options=("--cache-from", "{failing}/tokens/x:cache", "--no-cache", *PUSH, "{failing}/tokens/x:1"),
        prepare=tokens_for_a_start,
        said=r"ERROR: failed to solve: .*{failing} refuses the login 'me'; "
        r"log in to {failing} \(docker login\) or set DOCKER_AUTH_CONFIG.*",
    ),
    Fault(
        name="unknown-frontend",
        dockerfile="# syntax={open}/frontends/nonesuch:1\nFROM scratch\n",
        said=r"ERROR: failed to solve: .*{open}/frontends/nonesuch:1.*not found; "
        r"check the name and the tag of {open}/frontends/nonesuch:1",
    ),
    Fault(
        name="dockerfile-syntax",
        dockerfile="FROM scratch\nCOPPY a /\n",
        said=r"ERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: COPPY "
        r"\(did you mean COPY\?\)",
    ),
    Fault(
        name="secret-too-big",
        options=("--secret", "id=token,src=big"),
        files={"big": LARGEST_SECRET + 1},
        code=2,
        said=r"kube-builder: error: --secret: secret 'token' is larger than 500 KiB; "
        r"mount large files from a context: --build-context NAME=FOLDER",
    ),
)


@pytest.fixture(scope="module")
def grounds(
    cluster_env: dict[str, str],
    product_env: dict[str, str],
    buildkitd_config: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Grounds]:
    """A running builder, a registry that fails and one whose certificate is not trusted."""
    folder = tmp_path_factory.mktemp("exotic")
    host = str(layout.cluster().host_address)
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    with serving(host) as failing, serving(host, _certificate(host, folder)) as untrusted:
        config = folder / "buildkitd.toml"
        config.write_text(buildkitd_config.read_text() + "\n" + section(failing.address, ["http = true"]))
        login = {"auth": base64.b64encode(f"me:{PASSWORD}".encode()).decode()}
        (folder / "config.json").write_text(json.dumps({"auths": {failing.address: login}}))
        product = Product(cwd=folder, env={**product_env, "DOCKER_CONFIG": str(folder)}, config=config)
        kept = product.build("--keep", "--platform", "linux/amd64", "context")
        assert kept.code == 0, kept.stderr
        yield Grounds(
            product=product, builder=kept.builder, failing=failing, untrusted=untrusted, registries=cluster_env
        )
        assert product.run("rm", kept.builder).code == 0


def test_the_same_image_again_under_an_immutable_tag(grounds: Grounds, context: Path) -> None:
    """Two nodes push by digest; the tag of their index is there already, and another index is refused."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    (context / "file").write_text("1")
    target = f"{grounds.failing.address}/immutable/app:1"
    product = grounds.product.with_env(SOURCE_DATE_EPOCH="1700000000")

    def build() -> Run:
        platforms = ("--platform", "linux/amd64,linux/arm64", "--provenance", "false")
        return product.build(*platforms, "--push", "--tag", target, "--metadata-file", "result.json", str(context))

    digests = []
    for _ in range(2):
        run = build()
        assert run.code == 0, run.stderr
        digests.append(json.loads((product.cwd / "result.json").read_text())["containerimage.digest"])
    assert digests[0] == digests[1]
    assert len(json.loads(grounds.failing.manifests["immutable/app:1"][1])["manifests"]) == 2
    assert grounds.failing.refused == 0
    (context / "file").write_text("2")
    run = build()
    assert run.code == 1
    assert "the tag is immutable" in run.stderr
    assert grounds.failing.refused > 0


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_fault_is_one_clear_line(fault: Fault, grounds: Grounds, context: Path) -> None:
    names = {
        "open": grounds.registries["REGISTRY"],
        "basic": grounds.registries["REGISTRY_BASIC"],
        "failing": grounds.failing.address,
        "untrusted": grounds.untrusted.address,
    }
    (context / "Dockerfile").write_text(fault.dockerfile.format(**names))
    for name, size in fault.files.items():
        (context.parent / name).write_bytes(b"x" * size)
    fault.prepare(grounds)
    product = replace(grounds.product, cwd=context.parent)
    options = [option.format(**names) for option in fault.options]
    run = product.build("--builder", grounds.builder, *options, context.name, own_builder=False)
    expected = f"(?:{fault.said}|{fault.early})" if fault.early else fault.said
    for name, address in names.items():
        expected = expected.replace(f"{{{name}}}", re.escape(address))
    check(run.code, run.stderr, fault.code, expected)


def test_a_file_that_vanishes_while_it_is_sent(grounds: Grounds, context: Path) -> None:
    """It goes while the one before it is read."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    with (context / "a-large").open("wb") as large:
        large.truncate(LARGE // 2)
    (context / "b-late").write_text("here")
    command = ["--builder", grounds.builder, str(context)]
    process = replace(grounds.product, cwd=context).popen(*command, own_builder=False)
    while not is_open(process.pid, context / "a-large"):
        assert process.poll() is None
    (context / "b-late").unlink()
    log, _ = process.communicate(timeout=200)
    said = r"ERROR: failed to solve: error from sender: b-late vanished .*; do not change the context .+"
    check(process.returncode, log, 1, said)


def is_open(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    with suppress(OSError):
        return any(entry.readlink() == path for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def test_a_disk_that_is_full_in_the_pod(product: Product, context: Path, builders: Builders) -> None:
    """The kubelet looks every ten seconds, and then ends the pod."""
    (context / "Dockerfile").write_text(
        "FROM busybox\nRUN dd if=/dev/urandom of=/filler bs=1M count=160 && sleep 100\n"
    )
    run = product.build("--driver-opt", "limits.ephemeral-storage=100Mi", str(context))
    check(
        run.code,
        run.stderr,
        1,
        r"ERROR: pod buildkit-\S+ was lost: Evicted: .*ephemeral.* limit .*100Mi; raise .*limits\.ephemeral-storage",
    )
    assert builders.left() == []


STEPS = "FROM busybox\nCOPY . /\nRUN echo said 1; sleep 20\n"
EXPORTED = "FROM busybox\nCOPY . /\nRUN echo said 1; head -c 100000000 /dev/urandom > /noise\n"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The connection is cut when this is in the log."""

    name: str
    line: str
    dockerfile: str = STEPS
    size: int = 0


CUTS = (
    Cut(name="dockerfile", line="load build definition"),
    Cut(name="context", line="transferring context: ", size=LARGE),
    Cut(name="step", line="said 1"),
    Cut(name="export", line="exporting layers", dockerfile=EXPORTED),
)


@pytest.fixture
def relayed(product: Product, tmp_path: Path) -> Iterator[tuple[Product, Callable[[], None]]]:
    """The product with the API server behind a relay, and what cuts its connections."""
    with relaying_kubeconfig(Path(product.env["KUBECONFIG"]), tmp_path) as (path, cut):
        yield product.with_env(KUBECONFIG=str(path)), cut


@pytest.mark.parametrize("cut", CUTS, ids=[cut.name for cut in CUTS])
def test_a_connection_that_is_cut(
    cut: Cut,
    relayed: tuple[Product, Callable[[], None]],
    context: Path,
    reference: str,
    builders: Builders,
) -> None:
    victim = broken(relayed, cut.line, cut, context, reference)
    code = victim.end()
    assert code == 0, victim.log
    assert "reconnected by port-forward" in victim.log
    assert re.search(r"^digest +sha256:[0-9a-f]{64}$", victim.log, re.MULTILINE), victim.log
    assert "Traceback" not in victim.log
    assert PASSWORD not in victim.log
    assert builders.left() == []


def test_a_connection_that_is_cut_during_the_boot_is_made_again(
    relayed: tuple[Product, Callable[[], None]], context: Path, reference: str, builders: Builders
) -> None:
    victim = broken(relayed, "booting builder", Cut(name="boot", line="", dockerfile=DOCKERFILE), context, reference)
    assert victim.end() == 0, victim.log
    assert builders.left() == []


def broken(relayed: tuple[Product, Callable[[], None]], line: str, cut: Cut, context: Path, reference: str) -> Victim:
    """A build whose connections were cut at a line of its log."""
    product, drop = relayed
    with (context / "file").open("wb") as file:
        file.truncate(cut.size)
    by = ("--transport", "port-forward")
    victim = Victim(product, context, reference, *by, dockerfile=cut.dockerfile, platforms="linux/amd64")
    victim.wait_until(lambda: line in victim.log)
    drop()
    return victim


def check(code: int, log: str, expected: int, said: str) -> None:
    """The last line is the reason, and there is no other; nothing that is secret, and nothing of ours that crashed."""
    lines = [line for line in log.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("ERROR: ", "kube-builder: "))]
    assert code == expected, log
    assert reasons == lines[-1:], log
    assert re.fullmatch(said, lines[-1]), lines[-1]
    assert "Traceback" not in log
    assert PASSWORD not in log


def _certificate(host: str, folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
    signed = builder.add_extension(alternative, critical=False).sign(key, SHA256())
    paths = folder / "nobody.crt", folder / "nobody.key"
    paths[0].write_bytes(signed.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
