"""The fields of a builder that templates of ``inspect --format`` see: the keys of its JSON."""

from __future__ import annotations

from ci_buildx.gotemplate.kinds import BOOLEAN, INTEGER, TEXT, ListKind, MapKind, make_struct

_TEXTS = ListKind(TEXT)
_PAIRS = MapKind(TEXT)

_POLICY = make_struct(
    "policy",
    {
        "all": BOOLEAN,
        "filter": _TEXTS,
        "keepDuration": INTEGER,
        "reservedSpace": INTEGER,
        "maxUsedSpace": INTEGER,
        "minFreeSpace": INTEGER,
    },
)
NODE = make_struct(
    "node",
    {
        "Name": TEXT,
        "Node": TEXT,
        "Endpoint": TEXT,
        "Flags": _TEXTS,
        "DriverOpts": _PAIRS,
        "Files": _PAIRS,
        "Status": TEXT,
        "Version": TEXT,
        "Err": TEXT,
        "IDs": _TEXTS,
        "Platforms": _TEXTS,
        "GCPolicy": ListKind(_POLICY),
        "Labels": _PAIRS,
    },
)
BUILDER = make_struct(
    "builder",
    {
        "Name": TEXT,
        "Driver": TEXT,
        "Namespace": TEXT,
        "Lifetime": TEXT,
        "Dynamic": BOOLEAN,
        "Nodes": ListKind(NODE),
        "Current": BOOLEAN,
        "Err": TEXT,
        "CertificatesExpire": TEXT,
    },
)
