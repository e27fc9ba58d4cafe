import gzip
import hashlib
import io

from devcluster.images import oci
from devcluster.images.image import Content, Image, Variant
from devcluster.images.layer import File
from devcluster.images.push import build

ENTRIES = (File(path="/file", source=b"content" * 100),)


def test_a_plain_layers_digest_is_its_diff_id() -> None:
    stream = io.BytesIO()
    built = build(Content(entries=ENTRIES), stream)
    assert built.descriptor.media_type == oci.LAYER
    assert built.descriptor.digest == built.diff_id == "sha256:" + hashlib.sha256(stream.getvalue()).hexdigest()
    assert built.descriptor.size == len(stream.getvalue())


def test_a_compressed_layer_is_the_same_archive_in_gzip() -> None:
    plain, packed = io.BytesIO(), io.BytesIO()
    expected = build(Content(entries=ENTRIES), plain)
    built = build(Content(entries=ENTRIES, compressed=True), packed)
    assert built.descriptor.media_type == oci.COMPRESSED_LAYER
    assert built.diff_id == expected.diff_id
    assert gzip.decompress(packed.getvalue()) == plain.getvalue()
    assert built.descriptor.digest == oci.digest(packed.getvalue())
    assert built.descriptor.size == len(packed.getvalue())


def test_layers_are_made_the_same_each_time() -> None:
    content = Content(entries=ENTRIES, compressed=True)
    assert build(content, io.BytesIO()) == build(content, io.BytesIO())


def test_an_image_has_a_reference_per_tag() -> None:
    image = Image(repository="a/b", tags=("1", "latest"), variants=(Variant(architecture="amd64", layers=()),))
    assert image.references == ("a/b:1", "a/b:latest")
