"""`kube-builder exec`, `dial-stdio` and the setup step's input `expose`, with BuildKit's and docker's own clients."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_buildx.kube.client import KubeClient
from devcluster import programs, pushed
from devcluster.registry import Registry
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.e2e.processes import finish, follow, kill_with_descendants, start_act
from tests.e2e.product import COMMAND, Product, Run

DOCKERFILE = "FROM busybox\nCOPY note /note\nRUN uname -m > /machine\n"
WORKFLOW = ".github/workflows/expose.yml"
PATIENCE = 30.0


@pytest.fixture
def app(context: Path) -> Path:
    """The context, with a Dockerfile."""
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "note").write_text("hello\n")
    return context


def execute(product: Product, app: Path, *command: str, options: tuple[str, ...] = ()) -> Run:
    there = Product(cwd=app, env=product.env, config=product.config)
    return there.run("exec", "--buildkitd-config", str(product.config), *options, "--", *command)


def test_buildctl_builds_on_a_new_builder_that_ends_with_it(
    product: Product, app: Path, builders: Builders, reference: str, name: str, open_registry: Registry
) -> None:
    build = [programs.path("buildctl"), "build", "--frontend", "dockerfile.v0", "--local", "context=."]
    build += [
        "--local",
        "dockerfile=.",
        "--opt",
        "platform=linux/arm64",
        "--output",
        f"type=image,name={reference},push=true",
    ]
    run = execute(product, app, *map(str, build), options=("--platform", "linux/arm64"))
    assert run.code == 0, run.stderr
    ((_, image),) = pushed.images(open_registry.url, f"e2e/{name}", "1").items()
    assert image.files["machine"] == b"aarch64\n"
    assert builders.left() == []


def test_the_remote_driver_builds_and_the_command_decides_the_exit_code(
    product: Product, app: Path, builders: Builders, reference: str, name: str, open_registry: Registry
) -> None:
    script = f"""
set -e
test "$(stat -c %a "${{BUILDKIT_HOST#unix://}}")" = 600
export BUILDX_CONFIG="$PWD/../buildx"
{programs.path("buildx")} create --name exposed --driver remote "$BUILDKIT_HOST"
{programs.path("buildx")} build --builder exposed --push -t {reference} .
echo "$BUILDKIT_HOST"
exit 7
"""
    run = execute(product, app, "sh", "-c", script)
    assert run.code == 7, run.stderr
    assert pushed.images(open_registry.url, f"e2e/{name}", "1")
    path = Path(run.stdout.decode().rpartition("unix://")[2].strip())
    assert not path.parent.exists()
    assert builders.left() == []


def test_a_signal_ends_the_command_and_the_builder(product: Product, app: Path, builders: Builders) -> None:
    command = [
        *COMMAND,
        "exec",
        "--buildkitd-config",
        str(product.config),
        "--",
        "sh",
        "-c",
        "echo up $$; exec sleep 300",
    ]
    with subprocess.Popen(command, cwd=app, env=dict(product.env), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert line.startswith("up ")
    with pytest.raises(ProcessLookupError):
        os.kill(int(line.split()[1]), 0)
    assert builders.left() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("exec",), "missing command"),
        (("exec", "--"), "missing command"),
        (("exec", "kube", "--builder", "other", "--", "true"), "are the same"),
        (("dial-stdio",), "missing builder name"),
    ],
)
def test_bad_input_makes_nothing(
    arguments: tuple[str, ...], said: str, product: Product, context: Path, builders: Builders
) -> None:
    run = Product(cwd=context, env=product.env, config=product.config).run(*arguments)
    assert run.code == 2, run.stderr
    assert said in run.stderr
    assert not builders.namespaces()


@pytest.fixture
def kept(product: Product, app: Path) -> Iterator[str]:
    """A builder that a build has kept."""
    there = Product(cwd=app, env=product.env, config=product.config)
    run = there.build("--keep", "--platform", "linux/amd64", ".")
    assert run.code == 0, run.stderr
    yield run.builder
    there.run("rm", run.builder)


@pytest.mark.parametrize("transport", ["direct", "port-forward", "exec"])
def test_each_transport_reaches_an_existing_builder(transport: str, product: Product, app: Path, kept: str) -> None:
    there = Product(cwd=app, env=product.env, config=product.config)
    workers = [str(programs.path("buildctl")), "debug", "workers"]
    run = there.run("exec", "--transport", transport, kept, "--", *workers)
    assert run.code == 0, run.stderr
    assert b"linux/amd64" in run.stdout


def test_standard_streams_are_connected(product: Product, app: Path, kept: str) -> None:
    """The preface and the settings that an HTTP/2 server sends first."""
    process = subprocess.Popen(
        [*COMMAND, "dial-stdio", "--progress", "plain", kept],
        cwd=app,
        env=dict(product.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    process.stdin.flush()
    head = process.stdout.read(9)
    assert head[3] == 4, "a frame SETTINGS"
    process.stdin.close()
    process.stdout.read()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.readline() == f"#0 builder: {kept}\n".encode()
    process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def test_an_exposed_socket_ends_with_a_killed_runner(
    tmp_path: Path,
    name: str,
    product_env: dict[str, str],
    buildkitd_config: Path,
    team_builders: Builders,
    kube: KubeClient,
) -> None:
    steps = [
        {"uses": "actions/checkout@v4"},
        {"uses": "./setup", "with": {"expose": True, "buildkitd-config": "buildkitd.toml"}},
        {"run": "echo waiting for the end && sleep 120"},
    ]
    jobs = {"image": {"runs-on": "ubuntu-latest", "steps": steps}}
    files = {
        WORKFLOW: json.dumps({"name": "expose", "on": "workflow_dispatch", "jobs": jobs}),
        "buildkitd.toml": buildkitd_config.read_text(),
    }
    folder = checkout.make(tmp_path / "repository", name=name, dockerfile=DOCKERFILE, files=files)
    env = {**checkout.environment("act-home"), "KUBECONFIG": product_env["KUBECONFIG"]}
    variables = ["--env", f"KUBECONFIG={env['KUBECONFIG']}", "--env", f"GITHUB_REPOSITORY=team/{name}"]
    job = start_act(WORKFLOW, folder, env, "--no-cache-server", *variables)
    log = follow(job, "waiting for the end")
    found = re.search(r"socket    (/\S+)", log)
    assert found, log
    path = Path(found[1])
    assert can_connect(path), log
    kill_with_descendants(job.pid)
    finish(job)
    deadline = time.monotonic() + PATIENCE
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not path.exists()
    assert not can_connect(path)
    for left in team_builders.left():
        kube.delete(f"/api/v1/namespaces/{left}")


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        try:
            one.connect(str(path))
        except OSError:
            return False
        return True
