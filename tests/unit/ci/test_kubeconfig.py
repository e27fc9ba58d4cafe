"""A kubeconfig as path, content or base64."""

import base64
from pathlib import Path

import pytest

from ci_buildx.ci import logins
from ci_buildx.model.plaintext import read_kubeconfig

CONTENT = "apiVersion: v1\nkind: Config\nclusters: []\n"


@pytest.mark.parametrize("text", ["config", "/etc/kube/config", ".kube/config", "kubeconf", "a b", "C0ffee+/=="])
def test_a_path_stays_a_path(text: str) -> None:
    assert read_kubeconfig(text) is None
    with logins.open_kubeconfig(f" {text}\n", folder=None) as path:
        assert path == text


@pytest.mark.parametrize(
    "text",
    [
        CONTENT,
        '{"apiVersion": "v1", "clusters": []}',
        base64.b64encode(CONTENT.encode()).decode(),
        base64.encodebytes(CONTENT.encode() * 5).decode(),
    ],
)
def test_content_becomes_a_private_file_that_goes(text: str, tmp_path: Path) -> None:
    with logins.open_kubeconfig(text, folder=str(tmp_path)) as name:
        path = Path(name)
        assert "apiVersion" in path.read_text()
        assert path.parent == tmp_path
        assert path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.iterdir())
