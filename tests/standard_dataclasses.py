"""A plugin for pytest: the product's records are the standard library's dataclasses.

    python -m pytest -p tests.standard_dataclasses tests/unit

``ci_buildx.model.recording`` stands in for them because it is faster to import. What passes with and without this
plugin depends on nothing in which the two differ. ``make test-dataclasses`` runs it.
"""

import dataclasses
import sys

from ci_buildx.model import record

early = sorted(name for name in sys.modules if name.startswith("ci_buildx.") and name.count(".") > 1)
assert early == ["ci_buildx.model.record", "ci_buildx.model.recording"], f"imported too early: {early}"

vars(record).update(dataclass=dataclasses.dataclass, field=dataclasses.field, replace=dataclasses.replace)


def pytest_report_header() -> str:
    """Say in the first lines which kind of records is tested."""
    return "records: the standard library's dataclasses"
