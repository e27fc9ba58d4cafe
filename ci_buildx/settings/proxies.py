"""Proxies of docker's configuration, which every build is given as arguments.

Source: buildx 0.38.2, ``store/storeutil/storeutil.go`` (``GetProxyConfig``) and ``build/opt.go`` (``toSolveOpt``).
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

_ARGUMENTS = {
    "HTTP_PROXY": "httpProxy",
    "HTTPS_PROXY": "httpsProxy",
    "NO_PROXY": "noProxy",
    "FTP_PROXY": "ftpProxy",
}
_DAEMON = "unix:///var/run/docker.sock"
_DEFAULT = "default"


def proxy_arguments(env: Mapping[str, str], given: Container[str]) -> dict[str, str]:
    """The proxies by argument, without those that are ``given`` in whatever case.

    They are those of the daemon that ``DOCKER_HOST`` names, else docker's default. A configuration that cannot be read
    has none: who reads the logins in it will say what is wrong.
    """
    proxies = _proxies(env)
    chosen = proxies.get(env.get("DOCKER_HOST") or _DAEMON, proxies.get(_DEFAULT))
    if not isinstance(chosen, dict):
        return {}
    return {
        name: chosen[key]
        for name, key in _ARGUMENTS.items()
        if isinstance(chosen.get(key), str) and chosen[key] and not (name in given or name.lower() in given)
    }


def _proxies(env: Mapping[str, str]) -> dict[str, Any]:
    folder = env.get("DOCKER_CONFIG") or (env.get("HOME") and str(Path(env["HOME"]) / ".docker"))
    if not folder:
        return {}
    try:
        proxies = json.loads((Path(folder) / "config.json").read_bytes())["proxies"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return proxies if isinstance(proxies, dict) else {}
