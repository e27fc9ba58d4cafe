"""How the pages and sheets start kube-builder: by the installed command, or by an isolated interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.planted import plant, read_sprung

ROOT = Path(__file__).parents[3]
SHEETS = sorted((ROOT / "docs" / "rbac").glob("*.yaml"))
TEMPLATES = (ROOT / "gitlab-template" / "kube-builder.yml", ROOT / "templates" / "kube-builder.yml")
PAGES = (
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))),
    *sorted((ROOT / "examples").rglob("*.md")),
)
_CODE = re.compile(r"^ *```.*?^ *```$|^    .+$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"(?:^|[\s`\"'\[])(?:\S*/)?python[0-9.]*\s+(?P<arguments>-[^\n`|;]*)")
_OWN = re.compile(r"-m (bench|bundle|dev|devcluster|pytest)\b")
"""Programs of this repository, for those who work on it."""


def starts_of_python() -> Iterator[tuple[Path, str]]:
    for path in (*PAGES, *SHEETS, *TEMPLATES):
        text = path.read_text()
        for code in _CODE.findall(text) if path.suffix == ".md" else [text]:
            for found in _PYTHON.finditer(code):
                yield path, found["arguments"]


def containers(document: Any) -> Iterator[dict[str, Any]]:
    """Every container of a sheet, at whatever depth."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from value if key in ("containers", "initContainers") else containers(value)
    elif isinstance(document, list):
        for value in document:
            yield from containers(value)


def test_an_interpreter_that_runs_the_product_is_isolated() -> None:
    started = [(path.name, arguments) for path, arguments in starts_of_python() if not _OWN.search(arguments)]
    assert [one for one in started if "ci_buildx" in one[1]], "the pages say how to start it with python"
    # The page on security names what must not be done, and what to do instead.
    outlines = [("security.md", "-m ci_buildx"), ("security.md", "-m")]
    bare = [one for one in started if not one[1].startswith("-I") and one not in outlines]
    assert bare == []


def test_sheets_and_templates_start_the_installed_command() -> None:
    """Never ``python -m``, and no path that a working directory could change."""
    commands = [
        (sheet.name, [*container.get("command", []), *container.get("args", [])])
        for sheet in SHEETS
        for document in yaml.safe_load_all(sheet.read_text())
        for container in containers(document)
    ]
    assert commands == [("reaper-cronjob.yaml", ["kube-builder", "reap"])]
    for template in TEMPLATES:
        scripts = re.findall(r"^ +(?:before_|after_)?script:\n((?: +- .*\n)+)", template.read_text(), re.MULTILINE)
        lines = [line.strip() for script in scripts for line in script.splitlines()]
        assert lines == ["- kube-builder gitlab", "- kube-builder gitlab --post"]


@pytest.mark.parametrize("path", ["/usr/bin:/bin", ".:/usr/bin:/bin"])
def test_the_reapers_command_imports_nothing_of_its_folder(path: str, tmp_path: Path) -> None:
    """With the runner image's command on PATH, in a folder full of traps."""
    sheet = (ROOT / "docs" / "rbac" / "reaper-cronjob.yaml").read_text()
    (container,) = containers(list(yaml.safe_load_all(sheet)))
    text = (ROOT / "gitlab-template" / "Containerfile").read_text()
    (printf,) = re.findall(r"printf '%s\\n' .*?(?= > /opt/runner/bin/kube-builder)", text, re.DOTALL)
    printf = printf.replace("\\\n", "").replace("$(command -v python3)", sys.executable)
    script = subprocess.run(["sh", "-c", printf], capture_output=True, text=True, check=True).stdout
    command = tmp_path / "opt" / "kube-builder"
    command.parent.mkdir()
    command.write_text(script.replace("/opt/runner", str(ROOT)))
    command.chmod(0o755)
    checkout = tmp_path / "checkout"
    plant(checkout)
    # The image puts its own folder first.
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    env |= {"PATH": f"{command.parent}:{path}", "PYTHONPATH": str(checkout), "PYTHONHOME": str(checkout)}
    done = subprocess.run(
        [*container["command"], "--help"],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "reap" in done.stdout
    assert read_sprung(checkout) == []
