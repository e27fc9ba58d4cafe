"""Legacy auth-providers, by the official package itself."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from ci_buildx.errors import Unauthorized
from ci_buildx.kube.config import load_cluster
from ci_buildx.kube.credentials import Credentials
from ci_buildx.settings.values import ClusterSettings


def jwt(expires: float) -> str:
    parts = [{"alg": "none"}, {"exp": int(expires), "sub": "me"}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "signature"])


def credentials(folder: Path, provider: dict[str, object]) -> Credentials:
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "https://api:6443"}}],
        "users": [{"name": "x", "user": {"auth-provider": provider}}],
    }
    file = folder / "config"
    file.write_text(json.dumps(config))
    return load_cluster(ClusterSettings(kubeconfig=(file,)), env={}).credentials


def test_oidc_gives_its_id_token(tmp_path: Path) -> None:
    token = jwt(time.time() + 3600)
    oidc = credentials(tmp_path, {"name": "oidc", "config": {"id-token": token}})
    assert oidc.make_headers() == {"Authorization": f"Bearer {token}"}
    assert oidc.read_key_pair() is None
    fresh = jwt(time.time() + 7200)
    (tmp_path / "config").write_text((tmp_path / "config").read_text().replace(token, fresh))
    assert oidc.refresh()
    assert oidc.make_headers() == {"Authorization": f"Bearer {fresh}"}


@pytest.mark.parametrize(
    "provider",
    [
        {"name": "oidc", "config": {"id-token": "not a token"}},
        {"name": "oidc", "config": {"id-token": jwt(0), "idp-issuer-url": "http://127.0.0.1:9", "client-id": "x"}},
        {"name": "unheard-of"},
    ],
)
def test_a_provider_without_a_token_is_named(tmp_path: Path, provider: dict[str, object]) -> None:
    with pytest.raises(Unauthorized, match=rf"auth-provider '{provider['name']}' returned no token"):
        credentials(tmp_path, provider).make_headers()
