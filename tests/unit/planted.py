"""A checkout with every name that Python, pip, venv, uv, Node, npm, git and docker pick up by themselves.

Each one that is run, imported or obeyed leaves a file ``sprung-NAME`` in the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

MODULES = sorted(
    {
        *(name for name in sys.stdlib_module_names if not name.startswith("_") and name not in ("this", "antigravity")),
        *("pip", "setuptools", "wheel", "uv", "sitecustomize", "usercustomize", "yaml", "grpc", "requests"),
        *("cryptography", "certifi", "urllib3", "kubernetes", "rich", "six", "typing_extensions"),
    }
    - {"encodings"}
)
PROGRAMS = ("git", "uv", "pip", "pip3", "python", "python3", "python3.11", "python3.12", "python3.13", "node")
HELPERS = ("docker-credential-x", "docker-credential-ecr-login", "kube-builder", "ssh-agent", "kubelogin", "sh")
ASKED = ("uname", "ldconfig", "gcc", "cc", "ld", "objdump", "file", "hostname", "ifconfig", "ip", "arp", "id", "stty")
"""Programs that Python's own library runs, by whatever PATH there is, to learn about the system."""


def plant(place: Path, as_: Path | None = None) -> None:
    """Fill ``place``, which is made if it is missing; the traps know it as ``as_``."""
    place.mkdir(parents=True, exist_ok=True)
    folder = as_ or place

    def touch(name: str) -> str:
        return f"open({str(folder / f'sprung-{name}')!r}, 'w').close()\n"

    for name in MODULES:
        (place / f"{name}.py").write_text(touch(name))
    (place / "encodings").mkdir()
    (place / "encodings" / "__init__.py").write_text(touch("encodings"))
    (place / "evil.pth").write_text(f"import sys; {touch('pth')}")
    for name in ("ci_buildx.egg-link", "easy-install.pth"):
        (place / name).write_text(str(folder))
    for name in (*PROGRAMS, *HELPERS, *ASKED):
        for programs in (place, place / "bin", place / ".venv" / "bin", place / "node_modules" / ".bin"):
            programs.mkdir(parents=True, exist_ok=True)
            (programs / name).write_text(f"#!/bin/sh\n: > {folder}/sprung-{name}\n")
            (programs / name).chmod(0o755)
    modules = place / "node_modules"
    for name in ("fs", "path", "child_process", "node:fs", "child", "environment", "manifest"):
        (modules / name).mkdir()
        (modules / name / "index.js").write_text(f"require('fs').writeFileSync('{folder}/sprung-node-{name}', '')\n")
    for name, text in _settings(folder).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def read_sprung(folder: Path) -> list[str]:
    """Return the names of the traps that were sprung."""
    return sorted(path.name.removeprefix("sprung-") for path in folder.rglob("sprung-*"))


def _settings(folder: Path) -> dict[str, str]:
    nowhere = "http://127.0.0.1:9/simple"
    pip = f"[global]\nindex-url = {nowhere}\ntarget = {folder}/sprung-pip\nlog = {folder}/sprung-pip-log\n"
    uv = f'cache-dir = "{folder}/sprung-uv"\nindex-url = "{nowhere}"\n'
    hook = f"#!/bin/sh\n: > {folder}/sprung-hook\n"
    return {
        **dict.fromkeys(("pip.conf", "pip.ini", ".pip/pip.conf", ".config/pip/pip.conf"), pip),
        **dict.fromkeys(("uv.toml", ".config/uv/uv.toml"), uv),
        "pyproject.toml": f"[tool.uv]\n{uv}\n[tool.pip]\nindex-url = '{nowhere}'\n",
        **dict.fromkeys(("setup.cfg", "tox.ini", ".pydistutils.cfg"), f"[install]\nprefix = {folder}/sprung-prefix\n"),
        ".python-version": "2.7\n",
        ".tool-versions": "python 2.7\nnodejs 4\n",
        "mise.toml": '[tools]\npython = "2.7"\n',
        ".env": f"UV_CACHE_DIR={folder}/sprung-env\n",
        "pyvenv.cfg": f"home = {folder}/bin\n",
        ".venv/pyvenv.cfg": f"home = {folder}/bin\n",
        "package.json": '{"type": "module"}\n',
        ".npmrc": f"node-options=--require {folder}/node_modules/fs\n",
        ".nvmrc": "4\n",
        ".netrc": "default login x password y\n",
        ".gitconfig": f"[core]\nfsmonitor = {folder}/bin/sh\n",
        ".gitattributes": "* filter=x diff=x\n",
        ".githooks/post-checkout": hook,
    }
