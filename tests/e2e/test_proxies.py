"""Proxies of the environment: the Action installs and the client speaks through them; to pods nobody does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devcluster import pushed
from devcluster.registry import Registry
from tests.e2e import checkout
from tests.e2e.cluster import Builders
from tests.e2e.product import Product
from tests.e2e.web_proxy import WebProxy, proxying

WORKFLOW = ".github/workflows/image.yml"
BOTH = "linux/amd64,linux/arm64"


@pytest.fixture
def api(product_env: dict[str, str]) -> str:
    """The API server's host and port."""
    document = json.loads(Path(product_env["KUBECONFIG"]).read_text())
    return str(urlsplit(document["clusters"][0]["cluster"]["server"]).netloc)


def variables(proxy: WebProxy, **more: str) -> dict[str, str]:
    return {"HTTPS_PROXY": f"http://{proxy.address}", "HTTP_PROXY": f"http://{proxy.address}", **more}


def test_a_cold_start_of_the_action(
    tmp_path: Path,
    name: str,
    reference: str,
    product_env: dict[str, str],
    buildkitd_config: Path,
    open_registry: Registry,
    api: str,
) -> None:
    """A runner that has nothing yet: packages, the cluster and the registry are reached through the proxy."""
    given = {
        "context": "app", "tags": reference, "push": True, "platforms": BOTH, "buildkitd-config": "buildkitd.toml",
    }  # fmt: skip
    steps = [{"uses": "actions/checkout@v4"}, {"uses": "./", "with": given}]
    jobs = {"image": {"runs-on": "ubuntu-latest", "steps": steps}}
    files = {
        WORKFLOW: json.dumps({"name": "image", "on": "workflow_dispatch", "jobs": jobs}),
        "buildkitd.toml": buildkitd_config.read_text(),
    }
    folder = checkout.make(tmp_path / "repository", name=name, dockerfile=checkout.BOTH, files=files)
    (tmp_path / "home" / ".config" / "act").mkdir(parents=True)
    (tmp_path / "home" / ".config" / "act" / "actrc").touch()
    env = {**checkout.environment("act-home"), "HOME": str(tmp_path / "home")}
    with proxying() as proxy:
        inside = {"KUBECONFIG": product_env["KUBECONFIG"], **variables(proxy)}
        options = [part for pair in inside.items() for part in ("--env", "=".join(pair))]
        command = [checkout.program("act"), "workflow_dispatch", "--workflows", WORKFLOW, *checkout.ACT, *options]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=400, check=False)
        asked = proxy.asked
    assert done.returncode == 0, done.stdout + done.stderr
    assert "installing its Python packages" in done.stdout
    assert pushed.images(open_registry.url, f"e2e/{name}", "1").keys() == set(BOTH.split(","))
    assert ("CONNECT", api) in asked
    assert ("GET", open_registry.address) in asked
    index = {host for method, host in asked if method == "CONNECT"} - {api}
    assert index
    assert all(host.endswith(":443") for host in index), "pods are spoken to directly"


def test_what_is_excepted_is_not_asked_of_the_proxy(
    product: Product, context: Path, reference: str, builders: Builders, open_registry: Registry, api: str
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    hosts = {place.rpartition(":")[0] for place in (api, open_registry.address)}
    with proxying() as proxy:
        env = variables(proxy, NO_PROXY=",".join(sorted(hosts)))
        run = product.with_env(**env).build("--platform", BOTH, "-t", reference, "--push", str(context))
    assert run.code == 0, run.stderr
    assert proxy.asked == []
    assert builders.left() == []


def test_a_proxy_that_is_not_there_is_named(product: Product, context: Path, builders: Builders) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    run = product.with_env(HTTPS_PROXY="http://user:seeded-7c1d@127.0.0.1:1").build(str(context))
    assert run.code == 1
    (line,) = run.stderr.splitlines()[-1:]
    assert "proxy 127.0.0.1:1 (HTTPS_PROXY) did not respond: Connection refused" in line
    assert "seeded-7c1d" not in run.stderr
