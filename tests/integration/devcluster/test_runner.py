import marshal
from pathlib import Path

from devcluster.images import runner
from devcluster.images.layer import File

BUSYBOX = Path("/usr/bin/busybox")


def files(layer: int) -> dict[str, File]:
    entries = runner.image(BUSYBOX).variants[0].layers[layer].entries
    return {entry.path: entry for entry in entries if isinstance(entry, File)}


def test_the_product_is_there_and_compiled() -> None:
    product = files(2)
    assert "/usr/bin/kube-builder" in product
    compiled = next(path for path in product if "/ci_buildx/__pycache__/errors." in path)
    content = product[compiled].source
    assert isinstance(content, bytes)
    assert content[4:8] == b"\x01\x00\x00\x00"  # Hash-based and not checked (PEP 552).
    assert marshal.loads(content[16:]).co_filename == "/opt/kube-builder/ci_buildx/errors.py"
    assert not any("/tests/" in path or "/devcluster/" in path for path in product)


def test_dependencies_are_the_products_and_theirs_only() -> None:
    dependencies = files(1)
    for package in ("grpc", "kubernetes", "requests", "urllib3", "yaml", "cryptography", "rich"):
        assert f"/opt/kube-builder/{package}/__init__.py" in dependencies, package
    for package in ("pytest", "mypy", "hypothesis"):
        assert f"/opt/kube-builder/{package}/__init__.py" not in dependencies, package


def test_equal_sources_make_equal_layers() -> None:
    assert runner.image(BUSYBOX) == runner.image(BUSYBOX)
