"""Measures the runner image that has been pushed, and names its digest in everything that names the image.

    python -m dev.runner_image build/image http://127.0.0.1:5000

The folder holds ``metadata.json`` of the build. It gets ``sizes`` (also printed), ``digest``, ``reference``,
``notes.md`` and, below ``pinned``, each file of the repository that now has the digest. Fails if a platform's image is
above the limit.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from ci_buildx import RUNNER_IMAGE

ROOT = Path(__file__).resolve().parents[1]
CONSTANT = Path("ci_buildx", "__init__.py")
LIMIT = 60_000_000
"""Compressed bytes of one platform's image."""
PLATFORMS = frozenset({"linux/amd64", "linux/arm64"})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ASSIGNED = re.compile(r'^(RUNNER_IMAGE = f?"[^"@\n]+)(?:@[^"\n]+)?"$', re.MULTILINE)
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def pin_constant(source: str, digest: str) -> str:
    """Return the source of ``ci_buildx/__init__.py`` with the digest in RUNNER_IMAGE, in place of any other.

    Raises ValueError for text that is no digest, or if the source does not assign RUNNER_IMAGE once.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no digest: sha256: and 64 hexadecimal digits")
    pinned, found = _ASSIGNED.subn(rf'\g<1>@{digest}"', source)
    if found != 1:
        raise ValueError(f"{CONSTANT} assigns RUNNER_IMAGE {found} times")
    return pinned


def measure_manifest(manifest: Mapping[str, Any]) -> int:
    """Return what a pull of one platform transfers, in bytes: configuration and layers as they are compressed."""
    return int(manifest["config"]["size"]) + sum(int(layer["size"]) for layer in manifest["layers"])


def read_sizes(repository: str, digest: str) -> dict[str, int]:
    """Read the size of each platform's image; ``repository`` is its URL, such as ``http://host/v2/name``.

    Attestations are not counted. Raises requests.HTTPError if the registry does not have it.
    """
    index = _read_manifest(f"{repository}/manifests/{digest}")
    sizes = {}
    for entry in index["manifests"]:
        platform = "/".join(entry["platform"][part] for part in ("os", "architecture"))
        if platform != "unknown/unknown":
            sizes[platform] = measure_manifest(_read_manifest(f"{repository}/manifests/{entry['digest']}"))
    return sizes


def _read_manifest(url: str) -> dict[str, Any]:
    answer = requests.get(url, headers={"Accept": f"{_INDEX}, {_MANIFEST}"}, timeout=60)
    answer.raise_for_status()
    return dict(answer.json())


def check_sizes(sizes: Mapping[str, int]) -> str:
    """Return a line for each platform. Raises ValueError if one is missing, or larger than LIMIT."""
    if missing := PLATFORMS - sizes.keys():
        raise ValueError(f"the image has no {', '.join(sorted(missing))}")
    large = [platform for platform, size in sizes.items() if size > LIMIT]
    lines = "".join(f"{platform} {size / 1e6:.1f} MB compressed\n" for platform, size in sorted(sizes.items()))
    if large:
        raise ValueError(f"{', '.join(sorted(large))} is larger than {LIMIT / 1e6:.0f} MB:\n{lines}")
    return lines


def pin(folder: Path, digest: str) -> None:
    """Write the digest into the constant and all that is generated from it; copy the changed files to ``pinned``."""
    constant = ROOT / CONSTANT
    constant.write_text(pin_constant(constant.read_text(encoding="utf-8"), digest), encoding="utf-8")
    # In a process of its own, since this one has imported the constant as it was.
    command = [sys.executable, "-m", "bundle"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    changed = [str(CONSTANT), *(line.partition(": ")[0] for line in told.splitlines())]
    for name in changed:
        copy = folder / "pinned" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
    (folder / "files").write_text("".join(f"{name}\n" for name in changed))


def main() -> int:
    """Measure, pin and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.runner_image", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with metadata.json")
    parser.add_argument("registry", help="URL of the registry that the image was pushed to")
    given = parser.parse_args()
    metadata = json.loads((given.folder / "metadata.json").read_text(encoding="utf-8"))
    digest, name = str(metadata["containerimage.digest"]), str(metadata["image.name"])
    path = name.partition("/")[2].rpartition(":")[0]
    try:
        sizes = check_sizes(read_sizes(f"{given.registry}/v2/{path}", digest))
        pin(given.folder, digest)
    except ValueError as error:
        print(f"runner image: {error}", file=sys.stderr)
        return 1
    reference = RUNNER_IMAGE.partition("@")[0]
    listed = "".join(f"- {line}\n" for line in sizes.splitlines())
    notes = f"\n### Runner image\n`{reference}@{digest}`\n\n{listed}"
    for file, text in {"sizes": sizes, "digest": digest, "reference": reference, "notes.md": notes}.items():
        (given.folder / file).write_text(text, encoding="utf-8")
    print(f"{reference}@{digest}\n{sizes}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
