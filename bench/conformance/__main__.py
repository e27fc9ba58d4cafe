"""`python -m bench.conformance`: run docker buildx's own tests against kube-builder, and write the results as JSON.

    python -m bench.conformance                              # everything: about 25 minutes on two quiet cores
    python -m bench.conformance --files build --only Metadata
    python -m bench.conformance --judged bench/results/F     # the control's outcomes from an earlier run: half the time
    python -m bench.conformance --seed 7 --share 0.1         # a drawn tenth of the functions

It exits with 1 if a function fails that the control passes and `reasons.txt` does not name.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import machine
from bench.conformance import outcomes, sides, suite
from bench.conformance.outcomes import PRODUCT, FunctionOutcome, PairedOutcome, Results
from devcluster import layout, programs

RESULTS = Path(__file__).parents[1] / "results"
SLOW = ("dap_build",)
"""Files that only run if they are named: the verb is unknown, and each of their tests waits for its limit."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tests."""
    options = read_options(argv)
    built = suite.build_suite(programs.BUILDX)
    chosen = list(choose_tests(built.catalogue, options))
    if options.list:
        print("\n".join(f"{file} {test}" for file, test in chosen))
        return 0
    judged = outcomes.read_document(json.loads(options.judged.read_text())) if options.judged else {}
    results = run_tests(built, chosen, judged, options)
    facts = {
        **machine.facts(),
        "buildkit": programs.BUILDKIT,
        "control": options.judged.name if options.judged else "run",
        "seed": options.seed,
        "ephemeral": options.ephemeral,
    }
    if options.json:
        options.json.write_text(json.dumps(outcomes.make_document(results, facts), indent=1) + "\n")
    print(outcomes.format_table(results))
    surprises = outcomes.list_surprises(results)
    print("".join(f"fails, and reasons.txt does not name it: {test}\n" for test in surprises), end="")
    return 1 if surprises else 0


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(prog="python -m bench.conformance", description=__doc__)
    add = parser.add_argument
    add("--name", default="suite", help="the devcluster's name")
    add("--files", nargs="*", default=[], help=f"files of tests, such as build bake (default: all but {SLOW[0]})")
    add("--only", default="", metavar="REGEX", help="names of tests")
    add("--seed", type=int, help="draw a share of the tests by this seed")
    add("--share", type=float, default=0.1, help="share of the tests that --seed draws")
    add("--borrow", nargs="*", default=[], help="verbs that docker buildx runs in place of kube-builder")
    add("--ephemeral", action="store_true", help="each build of kube-builder makes a builder of its own")
    add("--experimental", action="store_true", help="with BUILDX_EXPERIMENTAL=1")
    add("--judged", type=Path, metavar="FILE", help="JSON of an earlier run, for the outcomes of the control")
    add("--json", type=Path, metavar="FILE", help="write the results to FILE")
    add("--list", action="store_true", help="only list the tests")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()) / "kube-builder-suite", help="for logs and files")
    add("--program", type=Path, default=Path(sys.executable).parent / PRODUCT)
    return parser.parse_args(argv)


def choose_tests(catalogue: dict[str, list[str]], options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield the chosen tests with their files."""
    known = [
        (file, test)
        for file, tests in catalogue.items()
        for test in tests
        if (file in options.files if options.files else file not in SLOW) and re.search(options.only, test)
    ]
    if options.seed is None:
        yield from known
        return
    drawn = random.Random(options.seed).sample(known, max(1, round(len(known) * options.share)))
    yield from sorted(drawn, key=known.index)


def run_tests(
    built: suite.SuitePrograms, chosen: Sequence[tuple[str, str]], judged: Results, options: argparse.Namespace
) -> Results:
    """Run the tests on both sides; the control only for those that are not ``judged``."""
    suite.run_command(sys.executable, "-m", "devcluster", "--name", options.name, "up")
    site = sides.prepare_site(layout.cluster(options.name), built, options.folder)
    product = sides.open_product(options.program)
    is_needed = options.borrow or any(test not in judged.get(file, {}) for file, test in chosen)
    control = sides.open_control(site) if is_needed else None
    results: Results = {}
    for number, (file, test) in enumerate(chosen, 1):
        known = judged.get(file, {}).get(test)
        if known is not None:
            verdict = known.control
        else:
            assert control is not None
            verdict = outcomes.judge_test(site, built, control, test, options)
        began = time.monotonic()
        found = (
            FunctionOutcome(worker=verdict.worker, parts={"": "skip"})
            if verdict.whole == "skip"
            else outcomes.run_test(site, built, product, test, verdict.worker, options)
        )
        if verdict.whole == "pass" and len(verdict.parts) == 1:
            # A function passes with all its parts, so an earlier run need not have kept them.
            verdict = replace(verdict, parts={**dict.fromkeys(found.parts, "pass"), "": "pass"})
        results.setdefault(file, {})[test] = PairedOutcome(control=verdict, product=found)
        seconds = time.monotonic() - began
        suite.report(f"{number}/{len(chosen)} {test} [{verdict.worker}] {verdict.whole} {found.whole} {seconds:.1f} s")
    return results


if __name__ == "__main__":
    sys.exit(main())
