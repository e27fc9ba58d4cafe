"""Outcomes of tests on both sides, how one is run, and their table, totals and JSON."""

from __future__ import annotations

import fnmatch
import os
import re
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.conformance.sides import (
    CONTROL,
    PLAIN,
    WORKERS,
    SuiteSide,
    SuiteSite,
    make_driver_options,
    switch_builder,
)
from bench.conformance.suite import HERE, SuitePrograms
from devcluster import programs, registry

PRODUCT = "kube-builder"
REASONS = HERE / "reasons.txt"
LIMIT = "240s"
_OUTCOME = re.compile(r"^\s*--- (PASS|FAIL|SKIP): TestIntegration/(\w+)/worker=[^/ ]+(?:/(.*))? \((\d+\.\d+)s\)$", re.M)
_NOISE = "Copying stdin failed"
"""A line that docker buildx's kubernetes driver logs in the midst of the output that its tests compare (client-go)."""
_TRIES = 4
"""Runs of a test of the control that failed with that line."""


@dataclass(kw_only=True)
class FunctionOutcome:
    """The outcome of one test on one side: its own (under the name "") and those of its parts."""

    worker: str
    parts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    log: Path = Path()

    @property
    def whole(self) -> str:
        """The outcome of the function: pass, fail or skip."""
        return self.parts.get("", "fail")

    @property
    def leaves(self) -> dict[str, str]:
        """The parts that have no parts."""
        return {
            name: status
            for name, status in self.parts.items()
            if not any(other != name and other.startswith(f"{name}/" if name else "") for other in self.parts)
        }


@dataclass(frozen=True, kw_only=True)
class PairedOutcome:
    """One test on both sides."""

    control: FunctionOutcome
    product: FunctionOutcome


Results = dict[str, dict[str, PairedOutcome]]
"""Outcomes by file and test."""


def run_test(
    site: SuiteSite, built: SuitePrograms, side: SuiteSide, test: str, worker: str, options: Namespace
) -> FunctionOutcome:
    """Run one test on one side."""
    place = site.folder / "results" / side.name
    place.mkdir(parents=True, exist_ok=True)
    trace, log = place / f"{test}.commands", place / f"{test}.log"
    trace.unlink(missing_ok=True)
    is_product = side.name == PRODUCT
    env = make_environment(site, side, worker, options) | {"SUITE_TRACE": str(trace)}
    if is_product:
        switch_builder(site, side, env["SUITE_BUILDER"])
    began = time.monotonic()
    text = site.run_inside(
        *("timeout", "--kill-after=10", "300", built.tests, "-test.v", f"-test.timeout={LIMIT}", "-test.parallel=1"),
        f"-test.run=^TestIntegration$/^{test}$/^worker={re.escape(worker)}$",
        env=env,
        check=False,
    )
    log.write_text(text)
    outcome = FunctionOutcome(worker=worker, seconds=round(time.monotonic() - began, 1), log=log)
    for status, name, part, _ in _OUTCOME.findall(text):
        if name == test:
            outcome.parts[part] = status.lower()
    if worker == "docker-container" and outcome.whole == "fail":
        remove_leftovers(site, side)
    return outcome


def make_environment(site: SuiteSite, side: SuiteSide, worker: str, options: Namespace) -> dict[str, str]:
    """Return the variables of a test on one side."""
    folder = site.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name, target in (("buildx", HERE / "buildx"), ("registry", Path(registry.PROGRAM))):
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    home = site.folder / "home" / side.name
    home.mkdir(parents=True, exist_ok=True)
    is_product = side.name == PRODUCT
    env = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(home),
        "SUITE_WORKER": worker,
        "SUITE_BUILDER": side.builders[worker],
        "SUITE_PROGRAM": str(side.program),
        "SUITE_BUILDX": str(programs.path("buildx")),
        "SUITE_CONTROL": CONTROL,
        "SUITE_BORROW": " ".join(options.borrow) if is_product else "",
        "SUITE_ALIAS": "1" if worker == "docker-container" else "",
        "SUITE_EPHEMERAL": "1" if is_product and options.ephemeral else "",
        "TEST_BUILDX_EXPERIMENTAL": "1" if options.experimental else "0",
    }
    if is_product and options.ephemeral:
        env |= {
            "SUITE_BUILDER": PLAIN,
            "KUBE_BUILDER_BUILDKITD_CONFIG": str(site.folder / "buildkitd.toml"),
            "KUBE_BUILDER_DRIVER_OPTS": "\n".join(make_driver_options(site, host=True)),
        }
    return env


def remove_leftovers(site: SuiteSite, side: SuiteSide) -> None:
    """Remove the builders that a failed test made and left: its clean-up does not know their names."""
    import json

    for name in {*side.builders.values()}:
        env = {"BUILDX_CONFIG": f"/tmp/buildx-{name}"}
        listed = site.run_inside(side.program, "ls", "--format", "json", env=env, check=False)
        known = {json.loads(line)["Name"] for line in listed.splitlines() if line.startswith("{")}
        made = known - {*side.builders.values(), "default"}
        if made:
            site.run_inside(side.program, "rm", "--force", *sorted(made), env=env, check=False)


def judge_test(
    site: SuiteSite, built: SuitePrograms, control: SuiteSide, test: str, options: Namespace
) -> FunctionOutcome:
    """Run one test on the control, by the first name of a worker under which it does not skip itself."""
    outcome = None
    for worker in WORKERS:
        for _ in range(_TRIES):
            tried = run_test(site, built, control, test, worker, options)
            if tried.whole != "fail" or _NOISE not in tried.log.read_text():
                break
        if outcome is None or tried.whole != "skip":
            outcome = tried
        if tried.whole != "skip":
            break
    assert outcome is not None
    return outcome


def read_reasons(file: Path = REASONS) -> dict[str, str]:
    """Return why tests are known to fail, by name, which may have stars."""
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = (line.split("  ", 1) for line in lines if line.strip() and not line.startswith("#"))
    return {name.strip(): reason.strip() for name, reason in pairs}


def find_reason(name: str, reasons: Mapping[str, str]) -> str:
    """Return why this test is known to fail, "" if it is not."""
    return next((reason for pattern, reason in reasons.items() if fnmatch.fnmatchcase(name, pattern)), "")


def compare_parts(pair: PairedOutcome) -> dict[str, tuple[str, str]]:
    """Return the outcomes of the parts without parts, of control and product.

    A part that was never reached ended with its parent.
    """
    found = {}
    for part, status in pair.control.leaves.items():
        got = pair.product.parts.get(part)
        if got is None:
            parents = [pair.product.parts.get(part[:cut]) for cut in range(len(part)) if part[cut] == "/" or cut == 0]
            got = "skip" if "skip" in parents and "fail" not in parents else "fail"
        found[part] = (status, got)
    return found


def count_outcomes(results: Results) -> dict[str, Any]:
    """Return how many functions and parts that the control passes the product passes, by file and in total."""
    files: dict[str, dict[str, dict[str, int]]] = {}
    sums = {"functions": Counter[str](), "parts": Counter[str]()}
    for file, tests in results.items():
        functions = Counter((pair.control.whole, pair.product.whole) for pair in tests.values())
        parts = Counter(two for pair in tests.values() for two in compare_parts(pair).values())
        files[file] = {"functions": _count_pairs(functions), "parts": _count_pairs(parts)}
        for kind, counted in sums.items():
            counted.update(files[file][kind])
    return {"total": {kind: dict(counted) for kind, counted in sums.items()}, "files": files}


def _count_pairs(pairs: Counter[tuple[str, str]]) -> dict[str, int]:
    possible = sum(count for (control, product), count in pairs.items() if control == "pass" and product != "skip")
    return {"passed": pairs["pass", "pass"], "of": possible, "not applicable": pairs.total() - possible}


def make_document(results: Results, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results as JSON: totals, then each function with both outcomes and the reason for a failure."""
    reasons = read_reasons()
    functions: dict[str, dict[str, Any]] = {}
    for file, tests in results.items():
        functions[file] = {}
        for test, pair in tests.items():
            parts = {part: list(two) for part, two in compare_parts(pair).items() if part}
            entry: dict[str, Any] = {
                "worker": pair.control.worker,
                "control": pair.control.whole,
                PRODUCT: pair.product.whole,
            }
            if parts:
                entry["parts"] = parts
            if entry["control"] == "pass" and entry[PRODUCT] == "fail":
                entry["reason"] = find_reason(test, reasons)
            functions[file][test] = entry
    return {**facts, **count_outcomes(results), "functions": functions}


def read_document(document: Mapping[str, Any]) -> Results:
    """Return the results in JSON of :func:`make_document`."""
    results: Results = {}
    for file, tests in document["functions"].items():
        for test, entry in tests.items():
            sides = [
                FunctionOutcome(
                    worker=entry["worker"],
                    parts={"": entry[name], **{part: two[place] for part, two in entry.get("parts", {}).items()}},
                )
                for place, name in enumerate(("control", PRODUCT))
            ]
            results.setdefault(file, {})[test] = PairedOutcome(control=sides[0], product=sides[1])
    return results


def format_table(results: Results) -> str:
    """Return a line for each function, and for each part that ended otherwise, and the totals."""
    rows: list[Sequence[str]] = [("file", "test", "control", PRODUCT)]
    for file, tests in results.items():
        for test, pair in tests.items():
            worker = "" if pair.control.worker == WORKERS[0] else f" ({pair.control.worker})"
            both = (pair.control.whole, pair.product.whole)
            rows.append((file, f"{test}{worker}", *both))
            rows += [(file, f"  {part}", *two) for part, two in compare_parts(pair).items() if part and two != both]
    width = max(len(row[1]) for row in rows)
    lines = [
        f"{row[0]:<12} {row[1]:<{width}} {row[2]:<8} {row[3]}" + ("  <-" if row[2] == "pass" != row[3] else "")
        for row in rows
    ]
    counted = count_outcomes(results)
    lines += ["", f"{'file':<12} {'functions':>24}   {'with their parts':>24}"]
    for file, kinds in [*counted["files"].items(), ("all", counted["total"])]:
        shown = [
            f"{one['passed']} of {one['of']} ({one['not applicable']} n/a)"
            for one in (kinds["functions"], kinds["parts"])
        ]
        lines.append(f"{file:<12} {shown[0]:>24}   {shown[1]:>24}")
    return "\n".join(lines) + "\n"


def list_surprises(results: Results) -> list[str]:
    """Return the functions that the control passes, the product does not, and no reason is known for."""
    reasons = read_reasons()
    return [
        test
        for tests in results.values()
        for test, pair in tests.items()
        if pair.control.whole == "pass" and pair.product.whole == "fail" and not find_reason(test, reasons)
    ]
