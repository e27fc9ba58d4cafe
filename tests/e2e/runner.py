"""What GitLab's runner does with a job of the template, as far as no other program here does it: cancel and time-out.

gitlab-ci-local runs the rest (``test_gitlab.py``). ``script`` and ``after_script`` are shells of their own with the
same variables (GitLab's documentation, "after_script"); a script that is to end gets SIGTERM, and some executors leave
it running beside ``after_script``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.checkout import ROOT

TEMPLATE = ROOT / "templates" / "kube-builder.yml"
_SHELL = ("bash", "-c")
_PATIENCE = 120


@dataclass
class Job:
    """One job in the ``folder`` of a checkout; ``lines`` is what its script has written until now."""

    folder: Path
    env: Mapping[str, str]
    job: Mapping[str, Any]
    lines: list[str] = field(default_factory=list)
    _script: subprocess.Popen[str] | None = None
    _reader: threading.Thread | None = None

    def start(self) -> None:
        """Run ``script``."""
        self._script = subprocess.Popen(
            [*_SHELL, "set -eo pipefail\n" + "\n".join(self.job["script"])],
            cwd=self.folder,
            env=self._variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        """Until the script has written ``text``."""
        deadline = time.monotonic() + _PATIENCE
        while text not in self.log:
            assert self.script.poll() is None, f"it ended before {text!r}:\n{self.log}"
            assert time.monotonic() < deadline, f"no {text!r}:\n{self.log}"
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """To the script and all that it started."""
        os.killpg(self.script.pid, number)

    def end(self) -> int:
        """The script's exit code, once it has ended."""
        code = self.script.wait(timeout=_PATIENCE)
        assert self._reader is not None
        self._reader.join(timeout=_PATIENCE)
        if self.script.stdout is not None:
            self.script.stdout.close()
        return code

    def run_after_script(self, status: str) -> subprocess.CompletedProcess[str]:
        """Run ``after_script``."""
        command = [*_SHELL, "set -eo pipefail\n" + "\n".join(self.job["after_script"])]
        env = self._variables() | {"CI_JOB_STATUS": status}
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )

    @property
    def script(self) -> subprocess.Popen[str]:
        assert self._script is not None
        return self._script

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def _variables(self) -> dict[str, str]:
        return {**self.env, **self.job["variables"]}

    def _read(self) -> None:
        assert self.script.stdout is not None
        self.lines.extend(iter(self.script.stdout.readline, ""))


def load(inputs: Mapping[str, object]) -> dict[str, Any]:
    """The component's hidden job, its inputs filled in as GitLab does it: texts as they are, all else as JSON."""
    head, body = TEMPLATE.read_text().split("\n---\n")
    for name, spec in yaml.safe_load(head)["spec"]["inputs"].items():
        value = inputs.get(name, spec["default"])
        body = body.replace(f"$[[ inputs.{name} ]]", value if isinstance(value, str) else json.dumps(value))
    jobs: dict[str, Any] = yaml.safe_load(body)
    return dict(jobs[".kube-builder"])
