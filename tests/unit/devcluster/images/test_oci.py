import hashlib
import json

from devcluster.images import oci

LAYER = oci.Layer(
    descriptor=oci.Descriptor(media_type=oci.COMPRESSED_LAYER, digest="sha256:" + "a" * 64, size=11),
    diff_id="sha256:" + "b" * 64,
)


def test_the_configuration_names_layers_by_their_uncompressed_digests() -> None:
    document = oci.config("arm64", {"Entrypoint": ["sh"]}, [LAYER])
    assert json.loads(document.content) == {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Entrypoint": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [LAYER.diff_id]},
    }
    assert document.descriptor.media_type == "application/vnd.oci.image.config.v1+json"


def test_a_variant_is_named_apart() -> None:
    expected = {"architecture": "arm", "os": "linux", "variant": "v7"}
    configuration = oci.config("arm/v7", {}, [])
    assert expected.items() <= json.loads(configuration.content).items()
    manifest = oci.manifest(configuration.descriptor, []).descriptor
    (entry,) = json.loads(oci.index({"arm/v7": manifest}).content)["manifests"]
    assert entry["platform"] == expected


def test_a_manifest_points_at_blobs() -> None:
    configuration = oci.config("amd64", {}, [LAYER]).descriptor
    content = json.loads(oci.manifest(configuration, [LAYER]).content)
    assert content["schemaVersion"] == 2
    assert content["config"] == {
        "mediaType": oci.CONFIG,
        "digest": configuration.digest,
        "size": configuration.size,
    }
    assert content["layers"] == [{"mediaType": oci.COMPRESSED_LAYER, "digest": LAYER.descriptor.digest, "size": 11}]


def test_a_descriptor_is_the_contents_own() -> None:
    document = oci.config("amd64", {}, [])
    assert document.descriptor.digest == "sha256:" + hashlib.sha256(document.content).hexdigest()
    assert document.descriptor.size == len(document.content)


def test_an_index_is_sorted_by_architecture() -> None:
    manifest = oci.manifest(oci.config("amd64", {}, []).descriptor, []).descriptor
    first = oci.index({"arm64": manifest, "amd64": manifest})
    assert first == oci.index({"amd64": manifest, "arm64": manifest})
    platforms = [entry["platform"] for entry in json.loads(first.content)["manifests"]]
    assert platforms == [{"architecture": "amd64", "os": "linux"}, {"architecture": "arm64", "os": "linux"}]
