"""Merged configurations say of each step what they said apart; the shape is BuildKit's (``v1/types/spec.go``)."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.buildkit.remote_cache import MEDIA_TYPE, find_config, merge_configs, merge_manifests

TIME = "2026-11-28T00:00:00Z"


def config(letter: str) -> dict[str, Any]:
    """What one node exports of ``COPY`` (the same everywhere) and ``RUN`` (its own), sorted as BuildKit does.

    The parent at place 0 is left out, as Go does with zeros; the layer of ``RUN`` comes before that of ``COPY``.
    """
    return {
        "layers": [{"blob": f"sha256:{letter}", "parent": 1}, {"blob": "sha256:copied", "parent": -1}],
        "records": [
            {
                "digest": "sha256:run",
                "inputs": [[{"link": 1}]],
                "layers": [{"layer": 0, "createdAt": TIME}],
            },
            {
                "digest": "sha256:copy",
                "inputs": [[{"link": 2, "selector": "/a"}]],
                "layers": [{"layer": 1, "createdAt": TIME}],
            },
            {"digest": f"sha256:base-{letter}"},
        ],
    }


def merged(*configs: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(merge_configs(json.dumps(one).encode() for one in configs))
    return read


def steps(config: dict[str, Any], place: int) -> tuple[Any, ...]:
    """A record with everything that it refers to, whatever the places."""
    record = config["records"][place]

    def chain(layer: int) -> tuple[str, ...]:
        if layer == -1:
            return ()
        found = config["layers"][layer]
        return (*chain(found.get("parent", 0)), found["blob"])

    inputs = [
        sorted((one.get("selector", ""), steps(config, one["link"])) for one in several)
        for several in record.get("inputs") or ()
    ]
    results = {chain(one["layer"]) for one in record.get("layers") or ()}
    results |= {tuple(config["layers"][each]["blob"] for each in one["layers"]) for one in record.get("chains") or ()}
    return record["digest"], tuple(map(tuple, inputs)), tuple(sorted(results))


def all_steps(config: dict[str, Any]) -> set[tuple[Any, ...]]:
    return {steps(config, place) for place in range(len(config["records"]))}


def test_each_nodes_steps_keep_their_inputs_and_layers() -> None:
    amd64, arm64 = config("amd64"), config("arm64")
    both = merged(amd64, arm64)
    assert all_steps(both) == all_steps(amd64) | all_steps(arm64)
    assert [layer["blob"] for layer in both["layers"]].count("sha256:copied") == 1


def test_the_same_twice_is_the_same_once() -> None:
    one = config("amd64")
    assert merged(one, one) == merged(one)
    assert all_steps(merged(one)) == all_steps(one)


def test_results_of_one_step_are_joined() -> None:
    first: dict[str, Any] = {
        "layers": [{"blob": "a", "parent": -1}],
        "records": [{"digest": "d", "layers": [{"layer": 0, "createdAt": TIME}]}],
    }
    second: dict[str, Any] = {
        "layers": [{"blob": "b", "parent": -1}],
        "records": [{"digest": "d", "chains": [{"layers": [0], "createdAt": TIME}]}],
    }
    assert merged(first, second) == {
        "layers": [{"blob": "a", "parent": -1}, {"blob": "b", "parent": -1}],
        "records": [
            {"digest": "d", "layers": [{"layer": 0, "createdAt": TIME}], "chains": [{"layers": [1], "createdAt": TIME}]}
        ],
    }


def test_a_parent_that_is_left_out_is_the_first_layer() -> None:
    one = {"layers": [{"blob": "a", "parent": -1}, {"blob": "b"}], "records": []}
    assert merged(one)["layers"][1] == {"blob": "b", "parent": 0}


def test_a_long_chain_needs_no_recursion() -> None:
    records: list[dict[str, Any]] = [{"digest": "0"}]
    records += [{"digest": str(place), "inputs": [[{"link": place - 1}]]} for place in range(1, 5000)]
    assert len(merged({"layers": [], "records": records[::1]})["records"]) == 5000


@pytest.mark.parametrize(
    "wrong",
    [
        {"records": [{"digest": "a", "inputs": [[{"link": 0}]]}]},
        {"records": [{"digest": "a", "inputs": [[{"link": 7}]]}]},
        {"records": [{"digest": "a", "inputs": [[{"link": -1}]]}]},
        {"records": [{"digest": "a", "layers": [{"layer": 0}]}]},
        {"records": [{"digest": "a", "chains": [{"layers": [-1]}]}]},
        {"records": [{"digest": 1}]},
        {"records": [{"digest": "a"}, {"digest": "b", "inputs": [[{"link": 0, "selector": []}]]}]},
        {"layers": [{"blob": "a", "parent": -1}], "records": [{"digest": "a", "layers": [{"layer": 0.5}]}]},
        {"records": 5},
        {"layers": [{"blob": "a"}]},
        {"layers": [{"blob": "a", "parent": 3}]},
        {"layers": ["a"]},
        [],
        "x",
    ],
)
def test_what_is_malformed_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"malformed|circle"):
        merge_configs([json.dumps(wrong).encode()])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["layers", "records", "blob", "parent", "digest", "inputs", "link", "layer", "chains", "selector"]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_nothing_crashes_it(value: Any) -> None:
    with suppress(ValueError):
        merge_configs([json.dumps(value).encode()])


LAYERS = [
    {"mediaType": "m", "digest": digest, "size": 1, "annotations": {"a": digest}} for digest in ("one", "two", "three")
]
CONFIGS = [{"mediaType": MEDIA_TYPE, "digest": digest, "size": 2} for digest in ("first", "second", "merged")]


def test_the_manifest_of_all_layers() -> None:
    manifests = [
        {"schemaVersion": 2, "mediaType": "i", "config": CONFIGS[0], "layers": LAYERS[:2]},
        {"schemaVersion": 2, "mediaType": "i", "config": CONFIGS[1], "layers": LAYERS[1:]},
    ]
    assert [find_config(manifest) for manifest in manifests] == CONFIGS[:2]
    assert json.loads(merge_manifests(manifests, CONFIGS[2])) == {
        "schemaVersion": 2,
        "mediaType": "i",
        "config": CONFIGS[2],
        "layers": LAYERS,
    }


def test_the_index_of_all_layers() -> None:
    manifests = [
        {"schemaVersion": 2, "mediaType": "l", "manifests": [LAYERS[place], CONFIGS[place]]} for place in (0, 1)
    ]
    assert [find_config(manifest) for manifest in manifests] == CONFIGS[:2]
    assert json.loads(merge_manifests(manifests, CONFIGS[2])) == {
        "schemaVersion": 2,
        "mediaType": "l",
        "manifests": [*LAYERS[:2], CONFIGS[2]],
    }


def test_an_image_is_no_cache() -> None:
    with pytest.raises(ValueError, match="not a cache"):
        find_config({"config": {"mediaType": "application/vnd.oci.image.config.v1+json"}, "layers": []})


def test_repetitions_do_not_add_up() -> None:
    """Eight megabytes of one result, which is all that a registry may send."""
    record = {"digest": "d", "layers": [{"layer": 0, "createdAt": TIME}] * 150_000}
    one = {"layers": [{"blob": "a", "parent": -1}], "records": [record, *([{"digest": "d"}] * 50_000)]}
    assert merged(one)["records"] == [{"digest": "d", "layers": [{"layer": 0, "createdAt": TIME}]}]
