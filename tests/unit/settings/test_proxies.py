import json
from pathlib import Path
from typing import Any

import pytest

from ci_buildx.settings.pairs import make_proxy_arguments

BOTH = {"httpProxy": "http://a:1", "httpsProxy": "http://a:2", "noProxy": "b,c", "ftpProxy": "ftp://a"}


def configured(folder: Path, proxies: Any) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps({"proxies": proxies}))
    return {"DOCKER_CONFIG": str(folder)}


def test_all_kinds(tmp_path: Path) -> None:
    assert make_proxy_arguments(configured(tmp_path, {"default": BOTH}), ()) == {
        "HTTP_PROXY": "http://a:1",
        "HTTPS_PROXY": "http://a:2",
        "NO_PROXY": "b,c",
        "FTP_PROXY": "ftp://a",
    }


def test_what_is_given_wins_in_whatever_case(tmp_path: Path) -> None:
    found = make_proxy_arguments(configured(tmp_path, {"default": BOTH}), ["http_proxy", "NO_PROXY", "FTP_PROXY"])
    assert found == {"HTTPS_PROXY": "http://a:2"}


def test_those_of_the_daemon_go_before_the_default(tmp_path: Path) -> None:
    own = {"httpProxy": "http://own"}
    env = configured(tmp_path, {"default": BOTH, "tcp://daemon": own, "unix:///var/run/docker.sock": {}})
    assert make_proxy_arguments(env | {"DOCKER_HOST": "tcp://daemon"}, ()) == {"HTTP_PROXY": "http://own"}
    assert make_proxy_arguments(env, ()) == {}


def test_the_configuration_in_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    configured(tmp_path / ".docker", {"default": {"httpProxy": "http://a"}})
    assert make_proxy_arguments({"HOME": str(tmp_path)}, ()) == {"HTTP_PROXY": "http://a"}


@pytest.mark.parametrize("proxies", [None, [], "x", {"default": None}, {"default": {"httpProxy": 1}}, {}])
def test_anything_else_is_no_proxy(proxies: Any, tmp_path: Path) -> None:
    assert make_proxy_arguments(configured(tmp_path, proxies), ()) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"auths": {}}', "\xff"])
def test_a_configuration_without_them(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    assert make_proxy_arguments({"DOCKER_CONFIG": str(tmp_path)}, ()) == {}
    assert make_proxy_arguments({"DOCKER_CONFIG": str(tmp_path / "none")}, ()) == {}
    assert make_proxy_arguments({}, ()) == {}
