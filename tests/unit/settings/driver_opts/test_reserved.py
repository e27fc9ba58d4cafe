"""Nobody can set what builders are found and read by."""

from __future__ import annotations

import pytest

from ci_buildx.builder import labels
from ci_buildx.errors import InputError
from ci_buildx.settings.driver_opts import checks

OURS = {
    value
    for name, value in vars(labels).items()
    if name.isupper() and isinstance(value, str) and value.startswith(labels.DOMAIN) and value != labels.DOMAIN
}


def test_all_of_ours_are_reserved() -> None:
    assert len(OURS) > 10
    for name in (*OURS, labels.MANAGED_BY):
        with pytest.raises(InputError, match="is reserved"):
            checks.refuse_reserved_labels([name], source="x")
    for name in OURS:
        with pytest.raises(InputError, match="is reserved"):
            checks.refuse_reserved_annotations([name], source="x")
    checks.refuse_reserved_labels(["team", "app.kubernetes.io/name", "apps"], source="x")
    checks.refuse_reserved_annotations(["cluster-autoscaler.kubernetes.io/safe-to-evict"], source="x")
