"""SSH agents in RUN steps: OpenSSH's own client lists their keys, and has each sign and verify something."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.errors import SolveError
from ci_buildx.settings.assembly import make_settings
from ci_buildx.settings.values import BuildSettings
from devcluster.images import host_files
from devcluster.images.layer import File
from tests.integration.buildkit.conftest import Build, Solve

ADD = Path("/usr/bin/ssh-add")
KINDS = ("ed25519", "rsa", "ecdsa")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """OpenSSH's client, and three key pairs beside the context."""
    folder = tmp_path / "context"
    for entry in host_files.program(ADD, at="/ssh-add"):
        assert isinstance(entry, File)
        assert isinstance(entry.source, Path)
        target = folder / "root" / entry.path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(entry.source, target)
    for kind in KINDS:
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", kind, "-f", str(tmp_path / kind))
        shutil.copy(tmp_path / f"{kind}.pub", folder / f"{kind}.pub")
    return folder


@pytest.fixture
def agent(context: Path) -> Iterator[Path]:
    """OpenSSH's agent with one of the keys."""
    path = context.parent / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            assert process.poll() is None
        run(str(ADD), "-q", str(context.parent / "ed25519"), SSH_AUTH_SOCK=str(path))
        yield path
    finally:
        process.terminate()
        process.wait()


def run(*command: str, **env: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **env}, stdin=subprocess.DEVNULL)


def build(context: Path, registry: str, options: str, steps: str, ssh: list[str], **env: str) -> BuildSettings:
    (context / "Dockerfile").write_text(
        f"FROM {registry}/library/busybox\nCOPY root /\nCOPY *.pub /\nRUN --mount=type=ssh{options} {steps}\n"
    )
    return make_settings({"context": str(context), "ssh": ssh}, {}, env, context.parent).build


def spoken(build: Build) -> str:
    return build.logs.decode()


def test_keys_from_files(solve: Solve, context: Path, registry: str) -> None:
    steps = "/ssh-add -L && /ssh-add -T /ed25519.pub /rsa.pub /ecdsa.pub && ! /ssh-add -D && echo fine"
    said = spoken(solve(build(context, registry, ",id=k", steps, [f"k={','.join(KINDS)}"])))
    assert [line.split()[0] for line in said.splitlines()[:3]] == ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"]
    assert "fine" in said


def test_an_agent_of_the_environment(solve: Solve, context: Path, agent: Path, registry: str) -> None:
    steps = "/ssh-add -L && /ssh-add -T /ed25519.pub && ! /ssh-add -D && ! /ssh-add -x </dev/null; /ssh-add -l"
    said = spoken(solve(build(context, registry, "", steps, ["default"], SSH_AUTH_SOCK=str(agent))))
    assert said.count("ED25519") == 1
    assert said.startswith("ssh-ed25519 ")


def test_a_step_that_needs_an_agent_that_is_not_forwarded(
    solve: Solve, context: Path, agent: Path, registry: str
) -> None:
    for ssh, said in ([], 'no SSH key "other" forwarded from the client'), (["default"], "add --ssh other"):
        with pytest.raises(SolveError, match=said):
            solve(build(context, registry, ",id=other,required=true", "true", ssh, SSH_AUTH_SOCK=str(agent)))
