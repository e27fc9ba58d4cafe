"""Checks names and English, and prints the figures of the code's structure.

    python -m dev.style            # check: exits with 1 and one line for each new finding
    python -m dev.style --figures  # sizes, duplicate class names, functions without a verb, words on the list
    python -m dev.style --all      # every finding, also those that the baseline still allows
    python -m dev.style --update   # lower the baseline to what is left

``style-baseline.json`` allows what was there when a rule was introduced: a count for each file and rule. A count may
fall, never rise.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ci_buildx"
BASELINE = Path(__file__).with_name("style-baseline.json")

VERBS = frozenset(
    """
    abort accept act add adopt advance advise align allow amend annotate announce answer append apply ask assert
    attach attempt await begin bind boot borrow bound break build call cancel canonicalize capitalize carry
    change check choose chunk claim classify clean clear clip close coalesce collapse collect combine commit
    compact compare compile complement complete compose compute concatenate confirm conform connect consume
    convert copy correct count create cut debug decide decode decrypt deduplicate deepen defer define defuse
    delete deliver derive descend describe detect diagnose dial discard dispatch divert divide download drain
    draw drop dump edit elect elide emit emulate enclose encode end enqueue enter escape estimate evaluate evict
    examine exchange exclude execute exit expand expire explain export extend extract fail feed fetch fill
    filter find finish fit flatten flush fold follow forbid forget forgive format forward frame freeze gather
    generate get give grant group guard guess handle hash hide hold identify ignore import include indent infer
    ingest inherit inquire insert inspect install interpolate intersect invoke issue iterate join judge keep
    kill label launch learn leave lift limit link list listen load locate lock log look lookup loop lose lower
    main make map mark mask match measure mention merge migrate mount move multiply name narrow negate nest
    normalise normalize note notify number observe offer open operate order owe pack pad parse pass patch pause
    peek pick pin ping place plan poll post predict prefer prepare present preserve print probe produce promote
    prompt provision prune publish pull pump push put quote race raise rank reach read reap rebase rebuild
    recall receive reconnect record redact reduce refresh refuse register reject relay release relist remember
    remove rename render renew repeat replace replan reply report represent request require reserve reset resize
    resolve restart restore restrict resume retain retry return reuse reveal reverse revoke reword rewrite round
    run sample sanitize save scale scan schedule scrub seal search secure select send separate serve set settle
    shape share shift shorten show shuffle shut sign simplify skip sleep slice solve sort spawn spell split
    start stat stop store strip style submit substitute subtract suggest sum summarize supply survey suspend
    swap sweep switch take teardown tell test throttle tick trace track transfer translate traverse trim
    truncate try undo unescape unify unmask unpack unpin unwrap update upgrade upload use validate verify view
    visit wait wake walk warm warn watch weigh widen withdraw work wrap write yield zip
    """.split()  # noqa: SIM905 - a list that people read and extend
)
"""Imperative verbs with which a function's name begins."""
PREDICATES = frozenset(
    """
    is has was can cannot may must should allows accepts belongs contains covers follows holds matches needs owns
    precedes uses wants
    """.split()  # noqa: SIM905
)
"""What the name of a function that returns a boolean begins with."""
PROTOCOL_NAMES = re.compile(
    r"do_[A-Z]+|visit_\w+|(set|tear)up|fileno|readable|readinto|writable|putrequest|putheader"
    r"|_new_conn|init_poolmanager|proxy_manager_for|sendall|makefile|error|json|dataclass"
)
"""Names that another library gives: it calls them, or our class or function takes the place of its own."""

WORDS: dict[str, str] = {
    r"\bfor ever\b": "forever, or without end",
    r"\bin vain\b": "without result",
    r"\bof ours\b": "kube-builder's, our own",
    r"\bfor good\b": "permanently",
    r"\bknock(s|ed|ing)?\b": "try, connect, probe",
    r"\bfence(s|d)?\b": "admission policy, or NetworkPolicy",
    r"\bcrumbs?\b": "leftover",
    r"\bwhoever\b": "anyone who",
    r"\bwhat lacks\b": "what is missing",
    r"\bat hand\b": "available",
    r"\bbelongings\b": "objects",
    r"\bhideout\b": "private folder",
    r"\bbesides,|, besides\b": "also, in addition",
    r"\bis no (file|list|path|name|number|folder|address|tag|URL|boolean|platform)\b": "is not a …",
    r"\bstands? for\b": "represents, means",
    r"\bsays (what|which|why|where|whether|how|who|that)\b": "reports, shows",
    r"\bnobody\b": "no one, or name the subject",
    r"\bsomebody\b": "someone, or name the subject",
    r"\banybody\b": "anyone",
    r"\bthe like\b": "and similar",
    r"\bcan never\b": "cannot",
    r"\bnot any ?more\b": "no longer",
    r"\bhears? of\b": "is told, receives",
    r"\btells? of\b": "reports",
    r"\bmuch of\b": "most of",
    r"\brests?, where\b": "skip",
    r"\bthis is what\b": "name the noun",
    r"\bwhat is no\b": "anything that is not a",
    r"\bis not there\b": "is missing, not found",
    r"\bis there already\b": "already exists",
    r"\btakes no\b": "does not accept",
    r"\bsomething else than\b": "invalid, unexpected",
    r"\bleaves? (it |them |this )?out\b": "omit",
    r"\bgive one( of them)?\b": "set only one",
    r"\bas (its|the) inputs say\b": "as its inputs configure it",
    r"\blacks the right\b": "has insufficient permissions",
    r"\bdo(es)? not belong together\b": "do not match",
    r"\banew\b": "again",
    r"\basks? who runs\b|\bthose who run it\b": "its owner, its operators",
    r"\bis no (socket|YAML|JSON|PEM|SSH|digest|manifest|mapping|host|cache|class|clean|regular|text)\b": "is not a …",
    r"\bno (context|namespace|builder|workflow|platform) is named\b": "missing …, no … is set",
    r"\bwants (a|the) login\b": "requires authentication",
}
"""Words and patterns that native engineers do not write here, with what to write instead."""

TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "action.yml", "setup/action.yml")


class Finding(NamedTuple):
    """One place that breaks a rule."""

    path: str
    line: int
    rule: str
    text: str


class Module(NamedTuple):
    """One Python module of the product."""

    path: Path
    tree: ast.Module
    lines: int


def main(argv: list[str] | None = None) -> int:
    """Check, or print figures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.style", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--figures", action="store_true", help="print the figures of the structure")
    parser.add_argument("--all", action="store_true", help="print every finding")
    parser.add_argument("--update", action="store_true", help="lower the baseline to what is left")
    chosen = parser.parse_args(argv)
    modules = read_modules()
    findings = [*find_names(modules), *find_words()]
    if chosen.figures:
        print(format_figures(modules, findings))
        return 0
    if chosen.all:
        for finding in findings:
            print_finding(finding)
        return 0
    counts = count_findings(findings)
    if chosen.update:
        BASELINE.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
        return 0
    allowed = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    worse = {key for key, number in counts.items() if number > allowed.get(key, 0)}
    for finding in findings:
        if f"{finding.path}: {finding.rule}" in worse:
            print_finding(finding)
    return 1 if worse else 0


def read_modules() -> list[Module]:
    """Parse all modules of the product."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        found.append(Module(path, ast.parse(text), len(text.splitlines())))
    return found


def find_names(modules: Iterable[Module]) -> Iterator[Finding]:
    """Find functions without a leading verb, and class names that are used twice."""
    classes: dict[str, list[Finding]] = defaultdict(list)
    for module in modules:
        path = str(module.path.relative_to(ROOT))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name.lstrip("_")].append(Finding(path, node.lineno, "class", node.name))
            elif isinstance(node, ast.FunctionDef) and not has_verb(node):
                yield Finding(path, node.lineno, "verb", f"{node.name} does not begin with an imperative verb")
    for name, places in classes.items():
        if len(places) > 1:
            for place in places:
                yield place._replace(text=f"class name {name} is used {len(places)} times")


def has_verb(node: ast.FunctionDef) -> bool:
    """Whether a function's name begins with a verb, or need not: properties, special methods, protocol methods."""
    name = node.name
    if name.startswith("__") or PROTOCOL_NAMES.fullmatch(name):
        return True
    decorators = {ast.unparse(each).split("(")[0].split(".")[-1] for each in node.decorator_list}
    if decorators & {"property", "cached_property", "setter"}:
        return True
    first = name.lstrip("_").split("_")[0]
    return first in VERBS or first in PREDICATES or name.lstrip("_").startswith(("to_", "from_", "on_"))


def find_words() -> Iterator[Finding]:
    """Find words of the list in code, help and pages."""
    patterns = [(re.compile(text, re.IGNORECASE), mend) for text, mend in WORDS.items()]
    pages = [ROOT / name for name in TEXTS] + sorted((ROOT / "docs").rglob("*.md"))
    for path in [*sorted(PACKAGE.rglob("*.py")), *pages]:
        if not path.exists():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for pattern, mend in patterns:
                if found := pattern.search(line):
                    yield Finding(str(path.relative_to(ROOT)), number, "word", f"{found.group()!r}: write {mend}")


def count_findings(findings: Iterable[Finding]) -> dict[str, int]:
    """Count findings by file and rule."""
    return dict(Counter(f"{finding.path}: {finding.rule}" for finding in findings))


def format_figures(modules: list[Module], findings: list[Finding]) -> str:
    """Format the figures of the structure as aligned lines."""
    code = [module for module in modules if module.path.name != "__init__.py"]
    sizes = sorted(module.lines for module in code)
    functions = sorted(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef)
    )
    folders = Counter(module.path.parent for module in code)
    rules = Counter(finding.rule for finding in findings)
    duplicates = {finding.text for finding in findings if finding.rule == "class"}
    largest = max(folders.items(), key=lambda item: item[1])
    rows = {
        "modules": f"{len(code)}, and {len(modules) - len(code)} package faces",
        "lines of a module": f"median {statistics.median(sizes):.0f}, largest {sizes[-1]}",
        "modules over 400 lines": str(sum(size > 400 for size in sizes)),
        "lines of a function": f"median {statistics.median(functions):.0f}, "
        f"95th percentile {functions[len(functions) * 95 // 100]}, longest {functions[-1]}",
        "largest package": f"{largest[1]} modules in {largest[0].relative_to(ROOT)}",
        "class names used twice": str(len(duplicates)),
        "functions without a verb": str(rules["verb"]),
        "words on the list": str(rules["word"]),
    }
    return "\n".join(f"{name:26} {value}" for name, value in rows.items())


def print_finding(finding: Finding) -> None:
    """Print one finding in the form of compilers."""
    print(f"{finding.path}:{finding.line}: {finding.rule}: {finding.text}")


if __name__ == "__main__":
    sys.exit(main())
