"""``type=gha``: the first version on act's own cache server, the second on a stand-in; each builder is a new one."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

from devcluster import layout
from tests.e2e import actions_cache, checkout
from tests.e2e.cluster import Builders
from tests.e2e.product import Product

DOCKERFILE = "FROM busybox\nCOPY note /note\nRUN sleep 0.1; head -c 3000000 /dev/urandom > /random\n"


def test_the_first_version_on_acts_server(
    tmp_path: Path, name: str, product_env: dict[str, str], buildkitd_config: Path
) -> None:
    workflow = ".github/workflows/image.yml"
    cache = {"cache-from": "type=gha", "cache-to": "type=gha,mode=max"}
    image = {"uses": "./", "with": {"context": "app", "buildkitd-config": "buildkitd.toml", **cache}}
    steps = [{"uses": "actions/checkout@v4"}, {**image, "name": "cold"}, {**image, "name": "warm"}]
    jobs = {"image": {"runs-on": "ubuntu-latest", "steps": steps}}
    files = {
        workflow: json.dumps({"name": "image", "on": "workflow_dispatch", "jobs": jobs}),
        "buildkitd.toml": buildkitd_config.read_text(),
    }
    folder = checkout.make(tmp_path / "repository", name=name, dockerfile=DOCKERFILE, files=files)
    server = ["--cache-server-addr", str(layout.cluster().host_address), "--cache-server-path", str(tmp_path / "cache")]
    # act gives jobs a runtime token only where it serves artifacts, too.
    server += ["--artifact-server-path", str(tmp_path / "artifacts"), "--artifact-server-port", str(free_port())]
    variables = ["--env", f"KUBECONFIG={product_env['KUBECONFIG']}"]
    done = subprocess.run(
        [checkout.program("act"), "workflow_dispatch", "--workflows", workflow, *checkout.ACT, *server, *variables],
        cwd=folder,
        env={**checkout.environment("act-home"), "KUBECONFIG": product_env["KUBECONFIG"]},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    cold, warm = (step(done.stdout, name) for name in ("cold", "warm"))
    assert "exporting to GitHub Actions Cache" in cold, cold
    assert "CACHED" not in cold
    assert "importing cache manifest from gha" in warm
    assert warm.count("CACHED") == 2, warm


def test_the_second_version(product: Product, context: Path, builders: Builders) -> None:
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "note").write_text("hello\n")
    options = ["--cache-from", "type=gha,scope=app", "--cache-to", "type=gha,scope=app,mode=max", str(context)]
    with actions_cache.serving(str(layout.cluster().host_address), int(time.time())) as service:
        job = product.with_env(
            ACTIONS_CACHE_SERVICE_V2="true",
            ACTIONS_RESULTS_URL=f"{service.url}/",
            ACTIONS_RUNTIME_TOKEN=service.token,
        )
        cold, warm = (job.build(*options) for _ in range(2))
    assert cold.code == warm.code == 0, cold.stderr + warm.stderr
    assert "CACHED" not in cold.stderr
    assert warm.stderr.count("CACHED") == 2, warm.stderr
    assert {"CreateCacheEntry", "FinalizeCacheEntryUpload", "GetCacheEntryDownloadURL"} == set(service.calls)
    assert service.token not in cold.stderr + warm.stderr
    assert builders.left() == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def step(log: str, name: str) -> str:
    """What act shows between the beginning and the end of a step."""
    return log.partition(f"Run Main {name}")[2].partition(f"Main {name}")[0]
