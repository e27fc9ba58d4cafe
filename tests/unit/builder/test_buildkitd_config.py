"""A buildkitd.toml that options extend says the same as the user's, and what they add."""

from __future__ import annotations

import tomllib
from typing import Any

import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from ci_buildx.builder.manifests import buildkitd
from ci_buildx.settings.builder import BuilderSettings, Registries

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    TEXTS
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0))
    | st.dates()
    | st.times().map(lambda moment: moment.replace(microsecond=0))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
MIRROR = Registries(mirrors=(("mirrored.example", ("a", "b")),))

EVERYTHING = """\
debug = true  # a comment
root = '/var/lib/buildkit'
insecure-entitlements = [ "network.host", "security.insecure" ]
trace = { "" = 1.5, "dotted.key" = inf }

[log]
  format = "text"

[grpc]
  address = [ "tcp://0.0.0.0:1234" ]
  [grpc.tls]
    cert = "/etc/buildkit/tls.crt"

[worker.oci]
  gc = true
  platforms = [ "linux/amd64", "linux/arm64" ]
  [worker.oci.labels]
    "foo.bar/é" = "a \\"quoted\\" \\\\ \\u007f \\n"
  [[worker.oci.gcpolicy]]
    reservedSpace = "512MB"
    keepDuration = "48h"
    filters = [ "type==source.local", "type==exec.cachemount" ]
  [[worker.oci.gcpolicy]]
    all = true
    keepDuration = 172800

[worker.containerd]
  enabled = false

[registry."docker.io"]
  mirrors = ["hub.docker.io", "core.harbor.domain/proxy.docker.io"]
  ca=["/etc/config/myca.pem"]
  [[registry."docker.io".keypair]]
    key="/etc/config/key.pem"
    cert="/etc/config/cert.pem"

[frontend."dockerfile.v0"]
  enabled = true

[system]
  platformsCacheMaxAge = "1h"
"""
"""Every form that BuildKit's docs/buildkitd.toml.md shows: dotted and quoted tables, arrays of tables, nested ones."""


def extended(text: str, registries: Registries = MIRROR) -> dict[str, Any]:
    return tomllib.loads(
        buildkitd.make_files(BuilderSettings(buildkitd_config=text, registries=registries))["buildkitd.toml"]
    )


def test_a_mirror_is_added_and_all_else_stays() -> None:
    before = tomllib.loads(EVERYTHING)
    mirrored = {"mirrored.example": {"mirrors": ["a", "b"]}}
    assert extended(EVERYTHING) == {**before, "registry": {**before["registry"], **mirrored}}


def test_options_extend_the_registry_that_the_user_describes() -> None:
    config = extended(EVERYTHING, Registries(insecure=("docker.io",)))
    before = tomllib.loads(EVERYTHING)["registry"]["docker.io"]
    assert config["registry"]["docker.io"] == {**before, "http": True, "insecure": True}


def test_the_users_text_stays_as_it_is_where_nothing_is_added() -> None:
    settings = BuilderSettings(buildkitd_config=EVERYTHING)
    assert buildkitd.make_files(settings) == {"buildkitd.toml": EVERYTHING}


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_any_configuration_stays(document: dict[str, Any]) -> None:
    document.pop("registry", None)
    added = {"registry": {"mirrored.example": {"mirrors": ["a", "b"]}}}
    assert extended(tomli_w.dumps(document)) == {**document, **added}
