"""A whole process around a build: it ends at once and says nothing of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from ci_buildx.builder.builder import SERVER_NAME
from ci_buildx.builder.manifests.certificates import NAMES, issue
from ci_buildx.buildkit.control import Control
from ci_buildx.errors import BuildkitError
from devcluster.bare_buildkitd import serving

SCRIPT = """
import sys
from pathlib import Path
from ci_buildx.buildkit.control import Control
from ci_buildx.buildkit import solve_request
from ci_buildx.session.filesync import FileSyncService
from ci_buildx.session.session import BuildSession
from ci_buildx.settings.values import BuildSettings

address, folder, how = sys.argv[1:]
build = BuildSettings(context=Path(folder), dockerfile=Path(folder, "Dockerfile"))
session = BuildSession([FileSyncService(solve_request.list_shared_folders(build))], shared_key="x")
made = solve_request.make_solve_request(
    build, ref=session.id, session_id=session.id, platforms=(), exporters=(), multi_platform=False
)

def act(update):
    if how == "interrupted" and any(log.data.startswith(b"started") for log in update.logs):
        raise SystemExit(130)

control = Control(address)
control.solve(made, session=session, on_status=act)
if how == "closed":
    control.close()
"""


@pytest.mark.parametrize(("how", "code"), [("closed", 0), ("left open", 0), ("interrupted", 130)])
def test_the_process_ends_quietly(buildkitd: str, registry: str, tmp_path: Path, how: str, code: int) -> None:
    step = f"RUN echo started {tmp_path}; sleep 300" if code else "RUN true"
    (tmp_path / "Dockerfile").write_text(f"FROM {registry}/library/busybox\n{step}\n")
    command = [sys.executable, "-c", SCRIPT, buildkitd, str(tmp_path), how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


def test_mutual_tls(tmp_path: Path) -> None:
    certificates = issue(NAMES, lifetime=600)
    for name, content in (
        ("cacert", certificates.ca),
        ("cert", certificates.server.certificate),
        ("key", certificates.server.key.reveal()),
    ):
        (tmp_path / name).write_bytes(content)
    client = (certificates.ca, certificates.client.certificate, certificates.client.key.reveal())
    options = [option for name in ("cacert", "cert", "key") for option in (f"--tls{name}", str(tmp_path / name))]
    with serving(tmp_path, options, credentials=client, server_name=SERVER_NAME) as address:
        with Control(address, credentials=client, server_name=SERVER_NAME) as control:
            assert len(control.list_workers(timeout=10)) == 1
        with Control(address, credentials=client, server_name="another") as control, pytest.raises(BuildkitError):
            control.list_workers(timeout=10)
        with Control(address) as control, pytest.raises(BuildkitError):
            control.list_workers(timeout=10)
