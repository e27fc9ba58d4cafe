"""`python -m bench.faults`: builds that meet faults, and their outcomes.

Every build has a deadline and a secret that must not appear in any log; an image that it reports must be readable in
full. ``--seed`` determines the order and the moments. Results are written after each fault, so that an interrupted run
can be resumed: cases that are in the file are skipped.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import random
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import ground, machine
from bench.ground import PLATFORM, PROJECT, Ground
from bench.soak import Soak
from devcluster import host, layout, outage

RESULTS = Path(__file__).parent / "results"
TRANSPORTS = ("direct", "port-forward", "exec")
CUTS = (5, 15, 30, 60)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
COMPONENTS = ("kube-apiserver", "etcd", "kubelet-amd64", "containerd-amd64", "registry-open")
OFFSETS = (6 * 3600, -6 * 3600)

_DEADLINE = 420.0
"""Seconds after which a build counts as hung: a cut of 60 s, twice its time until TCP repeats, and a busy machine."""
_AT_ONCE = 1.0
"""Seconds within which a signalled job ends if clean-up had already begun."""
_LONGEST_END = 40.0
_LIFETIME = 60
"""Lifetime of a killed job's builder, in seconds; the cluster enforces it."""
_SLACK = 15.0
"""Seconds for the Job controller and the kubelet to end a pod after its lifetime."""
_YOUNG = 60.0
"""Seconds for which a later job assumes that a folder without an owner is still being created."""
DOCKERFILE = """FROM busybox
COPY blob /blob
RUN --mount=type=secret,id=fault test -s /run/secrets/fault && echo begun
RUN for i in $(seq 1 20); do echo tick $i; sleep 1; done
RUN echo silent && sleep 25
ARG MARK
ENV MARK=$MARK
"""
_SHORT = "FROM busybox\nARG MARK\nENV MARK=$MARK\nRUN echo begun; sleep 2; echo $MARK > /mark\n"
_PHASES = {"upload": r"transferring context: [1-9]", "talking": r"tick 2\n", "silent": r" silent\n"}


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One build: the fault, its effect, and effects that must not occur (``faults``)."""

    name: str
    case: str
    what: str
    exit_code: int
    seconds: float
    digest: str = ""
    last_line: str = ""
    faults: list[str] = field(default_factory=list)


class Build:
    """A running build with its own context. ``log`` is its output so far.

    It makes its own builder, unless ``options`` name one and its ``namespace``.
    """

    def __init__(self, base: Ground, name: str, dockerfile: str, *options: str, size: int = 0, **env: str) -> None:
        self.ground = base
        self.name = name
        self.namespace = options[options.index("--namespace") + 1] if "--builder" in options else ""
        self.longest = _DEADLINE
        self.secrets = [secrets.token_hex(12), secrets.token_hex(12)]
        self._log = base.folder / f"{name}.log"
        folder = base.folder / name
        folder.mkdir()
        (folder / "Dockerfile").write_text(dockerfile)
        (folder / "blob").write_bytes(secrets.token_bytes(size))
        self.metadata = base.folder / f"{name}.json"
        new = (
            ["--buildkitd-config", str(base.buildkitd_config), "--driver-opt", "timeout=300s"]
            if not self.namespace
            else []
        )
        seen = ["--progress", "plain", "--metadata-file", str(self.metadata), "--secret", "id=fault,env=FAULT_SECRET"]
        marks = ["--build-arg", f"MARK={name}", "--build-arg", f"NPM_TOKEN={self.secrets[1]}"]
        target = ["--push", "--tag", self.reference]
        target += [] if "--platform" in options else ["--platform", PLATFORM]
        command = [str(base.product), "build", *target, *new, *seen, *marks, *options, str(folder)]
        self._start = partial(subprocess.Popen, command, env={**base.env, "FAULT_SECRET": self.secrets[0], **env})
        self.start()

    def start(self) -> None:
        """Run the command, again with an empty log if it has ended."""
        self._stream = self._log.open("w")
        self._begun = time.monotonic()
        self.process = self._start(stdout=self._stream, stderr=self._stream)

    @property
    def reference(self) -> str:
        """Reference that the build pushes."""
        return f"{self.ground.registry}/faults/{self.name}:1"

    @property
    def log(self) -> str:
        """Output so far."""
        return self._log.read_text(errors="replace")

    def reach(self, pattern: str) -> None:
        """Wait until the log matches the pattern, or the build has ended."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < deadline and not re.search(pattern, self.log):
            time.sleep(0.05)

    def end(self, case: str, what: str, *, survives: bool = True) -> Outcome:
        """Wait for the end and return the outcome.

        ``survives``: the build must succeed. Otherwise it must end, with a reason if it fails.
        """
        hung = False
        try:
            code = self.process.wait(max(self.longest - (time.monotonic() - self._begun), 1.0))
        except subprocess.TimeoutExpired:
            hung = True
            self.process.kill()
            code = self.process.wait()
        self._stream.close()
        lines = [line for line in self.log.splitlines() if "ERROR" in line or "WARNING" in line]
        found = Outcome(
            name=self.name,
            case=case,
            what=what,
            exit_code=code,
            seconds=round(time.monotonic() - self._begun, 1),
            last_line=lines[-1].replace(self.ground.registry, "REGISTRY")[:300] if lines else "",
        )
        if hung:
            found.faults.append(f"hung: killed after {self.longest:.0f} s")
        found.faults += self._judge(found, survives=survives)
        return found

    def _judge(self, found: Outcome, *, survives: bool) -> Iterator[str]:
        if any(secret in self.log for secret in self.secrets):
            yield "a secret is in the log"
        if "Traceback" in self.log:
            yield "a traceback is in the log"
        told = re.search(r"^digest +(sha256:[0-9a-f]{64})", self.log, re.M)
        found.digest = told[1] if told else ""
        if found.exit_code == 0 or found.digest:
            yield from read_back(self.ground.registry, f"faults/{self.name}", found.digest, self.name)
        if survives and found.exit_code:
            yield f"exit code {found.exit_code} of a build that was to survive"
        if not survives and found.exit_code and "ERROR" not in self.log:
            yield "it failed without a reason"


def read_back(registry: str, repository: str, digest: str, mark: str) -> Iterator[str]:
    """Yield the errors of a reported image: each of its blobs is read and compared with its digest."""
    try:
        index = json.loads(_fetched(registry, repository, "manifests", digest))
        for entry in index["manifests"]:
            manifest = json.loads(_fetched(registry, repository, "manifests", entry["digest"]))
            config = _fetched(registry, repository, "blobs", manifest["config"]["digest"])
            for layer in manifest["layers"]:
                _fetched(registry, repository, "blobs", layer["digest"])
            image = entry["platform"]["os"] != "unknown"
            if image and f"MARK={mark}" not in json.loads(config)["config"].get("Env", []):
                yield "the image is another build's"
    except (OSError, ValueError, KeyError, http.client.HTTPException) as cause:
        yield f"the image cannot be read back: {cause!r}"


def _fetched(registry: str, repository: str, kind: str, digest: str) -> bytes:
    connection = http.client.HTTPConnection(registry, timeout=60)
    try:
        accepted = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
        connection.request("GET", f"/v2/{repository}/{kind}/{digest}", headers={"Accept": accepted})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200 or f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
        raise ValueError(f"{kind} {digest}: {answer.status}, {len(body)} bytes")
    return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The table of faults; names of cases stay the same from run to run.

    ``upload`` is the size in bytes of the context of a build that is cut off during the upload.
    """

    ground: Ground
    name: str
    random: random.Random
    library: Path
    dockerfile: str = DOCKERFILE
    upload: int = 200 << 20

    def cases(self, *, kills: int, crowd: int) -> dict[str, Callable[[str], list[Outcome]]]:
        """Return all cases by name, in the order in which they run."""
        found: dict[str, Callable[[str], list[Outcome]]] = {}
        for seconds in CUTS:
            for phase in _PHASES:
                found[f"cut-{seconds}-{phase}"] = partial(self.cut, seconds=seconds, phase=phase)
        for component in COMPONENTS:
            for phase in ("upload", "talking"):
                found[f"restart-{component}-{phase}"] = partial(self.restart, component=component, phase=phase)
        for number in range(0, kills, 4):
            found[f"kill-{number:02}"] = self.kill
        for offset in OFFSETS:
            found[f"clock-{offset}"] = partial(self.clock, offset=offset)
        found["full-temp"] = self.full_temp
        found["full-metadata"] = self.full_metadata
        found["full-volume"] = self.full_volume
        found[f"crowd-{crowd}"] = partial(self.crowd, many=crowd)
        return found

    def builds(self, case: str, transports: Sequence[str], *, size: int = 40 << 20) -> list[Build]:
        """Start one build with each transport."""
        return [self.build(f"{case}-{one}", self.dockerfile, "--transport", one, size=size) for one in transports]

    def build(self, suffix: str, dockerfile: str, *options: str, size: int = 0, **env: str) -> Build:
        """Start a build with a unique name."""
        return Build(self.ground, f"{self.name}-{suffix}".lower(), dockerfile, *options, size=size, **env)

    def cut(self, case: str, seconds: float, phase: str) -> list[Outcome]:
        """Drop all packets for ``seconds``, on all transports at once."""
        made = self.builds(case, TRANSPORTS, size=self.upload if phase == "upload" else 1 << 20)
        made[self.random.randrange(len(made))].reach(_PHASES[phase])
        outage.cut_for(self.ground.cluster, seconds)
        return [one.end(case, f"no packets for {seconds} s while {phase}") for one in made]

    def restart(self, case: str, component: str, phase: str) -> list[Outcome]:
        """Kill and restart a part of the cluster: the build must succeed or report a missing base image."""
        made = self.builds(case, TRANSPORTS)
        made[self.random.randrange(len(made))].reach(_PHASES[phase])
        after = round(self.random.uniform(1, 8), 1)
        outage.restart(self.ground.cluster, component, after=after)
        # While it pulls a base image, BuildKit does not wait for a registry that refuses connections.
        needed = component.startswith("registry") and phase == "upload"
        what = f"{component} gone for {after} s and more while {phase}"
        outcomes = [one.end(case, what, survives=not needed) for one in made]
        for one, outcome in zip(made, outcomes, strict=True):
            if needed and outcome.exit_code and not re.search(rf"ERROR: .*{re.escape(one.ground.registry)}", one.log):
                outcome.faults.append("the registry is not named")
        return outcomes

    def kill(self, case: str) -> list[Outcome]:
        """Run four jobs and send a different signal to each, at random moments."""
        with ThreadPoolExecutor(len(SIGNALS)) as pool:
            moments = [self.random.uniform(0.05, 6.0) for _ in SIGNALS]
            return list(pool.map(lambda number, moment: self.kill_one(case, number, moment), SIGNALS, moments))

    def kill_one(self, case: str, number: signal.Signals, moment: float, *, lifetime: int = _LIFETIME) -> Outcome:
        """Signal a job: except after SIGKILL it must delete its builder and files, and exit with the right code."""
        suffix = f"{case}-{number.name}"
        temp = self.killed if number is signal.SIGKILL else self.ground.folder / f"{self.name}-{suffix}-temp"
        temp.mkdir(exist_ok=True)
        one = self.build(suffix, _SHORT, "--lifetime", f"{lifetime}s", TMPDIR=str(temp), XDG_RUNTIME_DIR=str(temp))
        time.sleep(moment)
        over = one.process.poll() is not None
        one.process.send_signal(number)
        sent, before = time.monotonic(), one.log
        outcome = one.end(case, f"{number.name} after {moment:.2f} s", survives=False)
        outcome.faults = [each for each in outcome.faults if "without a reason" not in each]
        if is_interpreters(number, outcome.exit_code, one.log):
            outcome.faults = [each for each in outcome.faults if "traceback" not in each]
            outcome.what += ", while the interpreter started"
        else:
            # The log is read by a thread, which a busy machine keeps waiting: a job that ends at once was ending.
            ending = time.monotonic() - sent < _AT_ONCE and "removing builder" in one.log
            late = over or ending or "removing builder" in before
            outcome.faults += judge_code(number, outcome.exit_code, late=late)
        if time.monotonic() - sent > _LONGEST_END:
            outcome.faults.append(f"it took {time.monotonic() - sent:.0f} s to end")
        time.sleep(2)
        if number is not signal.SIGKILL:
            if self.soak.pods(one.name):
                outcome.faults.append("pods 2 s after its end")
            if self.soak.namespace(one.name) == "active":
                outcome.faults.append("its namespace is not deleted")
            if left := sorted(each.name for each in temp.iterdir()):
                outcome.faults.append(f"files are left: {', '.join(left)}")
        return outcome

    @property
    def killed(self) -> Path:
        """Folder for temporary files of killed jobs."""
        return self.ground.folder / f"{self.name}-killed"

    @property
    def soak(self) -> Soak:
        """Finds leftovers in the cluster."""
        return Soak(ground=self.ground, name=self.name, random=self.random)

    def settle(self, outcomes: Sequence[Outcome], runs: Sequence[str], *, seconds: float) -> list[str]:
        """Run the documented cleanup of killed jobs, record leftovers as faults, and return remaining namespaces.

        The cluster ends the pods at the end of their lifetime, the reaper deletes the namespaces, a later job the
        files. ``seconds`` limits the wait for the reaper.
        """
        gone = time.monotonic() + _LIFETIME + _SLACK
        killed = [one for one in outcomes if one.exit_code == -signal.SIGKILL and one.case.startswith("kill")]
        while any(self.soak.pods(one.name) for one in killed) and time.monotonic() < gone:
            time.sleep(1)
        for one in killed:
            if self.soak.pods(one.name):
                one.faults.append("pods after its lifetime")
        deadline = time.monotonic() + seconds
        while self.left(runs) and time.monotonic() < deadline:
            self.soak.reap()
            time.sleep(5)
        if self.killed.exists():
            found = [each.lstat().st_mtime for each in self.killed.iterdir()]
            time.sleep(max(0.0, max(found, default=0.0) + _YOUNG + 2 - time.time()))
            later = self.build("later", _SHORT, TMPDIR=str(self.killed), XDG_RUNTIME_DIR=str(self.killed))
            ended = later.end("later", "the job after those that were killed")
            files = sorted(each.name for each in self.killed.iterdir())
            if killed and (ended.faults or files):
                killed[-1].faults.append(f"after a later job: {'; '.join([*ended.faults, *files])}")
        left = self.left(runs)
        for one in outcomes:
            one.faults += [f"{name} is left after the reaper" for name in left if f"-{one.name}-" in name]
        return left

    def clock(self, case: str, offset: int) -> list[Outcome]:
        """Shift the runner's clock by hours: the build must succeed, or report that the clock is wrong."""
        made = self.build(case, _SHORT, LD_PRELOAD=str(self.library), OFFSET=str(offset))
        outcome = made.end(case, f"clock {offset / 3600:+.0f} h off", survives=False)
        # By a clock that is behind, the certificates of a young cluster are not valid yet.
        if outcome.exit_code and "set the clock" not in made.log:
            outcome.faults.append("the clock is not named")
        return [outcome]

    def full_temp(self, case: str) -> list[Outcome]:
        """Fill the runner's temporary folder, where a tunnel's socket needs space."""
        with _full_folder(self.ground.folder / "full") as folder:
            made = [
                self.build(f"{case}-{one}", _SHORT, "--transport", one, TMPDIR=str(folder), XDG_RUNTIME_DIR=str(folder))
                for one in TRANSPORTS
            ]
            return [one.end(case, "no space in the temporary folder", survives=False) for one in made]

    def full_metadata(self, case: str) -> list[Outcome]:
        """Fill the disk of the metadata file: the digest must still be reported."""
        made = self.build(case, _SHORT, "--metadata-file", "/dev/full")
        outcome = made.end(case, "no space for the metadata file", survives=False)
        if not re.search(r"sha256:[0-9a-f]{64}", made.log.rpartition("ERROR")[2]):
            outcome.faults.append("the digest is lost")
        return [outcome]

    def full_volume(self, case: str) -> list[Outcome]:
        """Fill buildkitd's disk in a step: the error must mention it, and nothing may hang."""
        dockerfile = "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=700\nRUN sleep 60\n"
        made = self.build(case, dockerfile, "--driver-opt", "buildkit-root-volume-memory=300Mi")
        outcome = made.end(case, "buildkitd's disk is full", survives=False)
        if not outcome.exit_code:
            outcome.faults.append("it ended well though its disk was full")
        elif not re.search(r"no space left", made.log, re.I):
            outcome.faults.append("the full disk is not named")
        return [outcome]

    def crowd(self, case: str, many: int) -> list[Outcome]:
        """Run ``many`` jobs at once."""
        made = [self.build(f"{case}-{number:02}", _SHORT) for number in range(many)]
        return [one.end(case, f"{many} jobs at once") for one in made]

    def left(self, runs: Sequence[str]) -> list[str]:
        """Return the namespaces of these runs that exist and are not being deleted."""
        found = self.ground.kube.list("/api/v1/namespaces", labelSelector="app.kubernetes.io/managed-by=kube-builder")
        return [
            each["metadata"]["name"]
            for each in found["items"]
            if any(f"-{run}-" in each["metadata"]["name"] for run in runs)
            and not each["metadata"].get("deletionTimestamp")
        ]


def judge_code(number: signal.Signals, code: int, *, late: bool) -> Iterator[str]:
    """Yield an error if the exit code of a signalled job is wrong. ``late``: its image already existed.

    A process killed by a signal has the exit code that a shell reports: 128 plus the signal's number.
    """
    right = (-number,) if number is signal.SIGKILL else (128 + number, -number)
    if code not in right and not (late and code == 0):
        yield f"exit code {code} after {number.name}, not {right[0]}"


def is_interpreters(number: signal.Signals, code: int, log: str) -> bool:
    """Return whether SIGINT came before the product's first line: Python then exits with 1 or its own traceback."""
    python = "Fatal Python error: init" in log or "Traceback" in log
    return number is signal.SIGINT and code in (1, -number) and python and "ci_buildx/" not in log


@contextmanager
def _full_folder(folder: Path) -> Iterator[Path]:
    """Mount a file system without free space."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(faults: Faults, wanted: Sequence[str], written: dict[str, Any], save: Callable[[], None]) -> list[str]:
    """Run each case that is missing in the results; return the cases that ran."""
    done = []
    table = faults.cases(kills=written["kills"], crowd=written["crowd"])
    for case, do in table.items():
        if case in written["cases"] or not any(case.startswith(prefix) for prefix in wanted):
            continue
        faults.random.seed(f"{written['seed']} {case}")
        outcomes = do(case)
        written["cases"][case] = [asdict(one) for one in outcomes]
        written.setdefault("commits", {})[case] = machine.commit()
        save()
        for one in outcomes:
            verdict = "; ".join(one.faults) or "right"
            print(f"{one.case:34} exit {one.exit_code:4} {one.seconds:6.1f} s  {one.what}: {verdict}", flush=True)
        done.append(case)
    return done


def main() -> int:
    """Run the faults; return 1 for any outcome that must not occur."""
    arguments = parser().parse_args()
    host.become_root()
    # Shells make background jobs ignore these signals. A handler is reset to the default in child processes.
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    written = {"seed": arguments.seed, "kills": arguments.kills, "crowd": arguments.crowd, "cases": {}}
    if arguments.json.exists():
        written = json.loads(arguments.json.read_text())
    with ground.prepared(layout.cluster(arguments.cluster)) as prepared:
        library = prepared.folder / "clock.so"
        source = PROJECT / "tests" / "faults" / "clock.c"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        name = f"f{secrets.token_hex(2)}"
        faults = Faults(ground=prepared, name=name, random=random.Random(), library=library)
        written.setdefault("machine", machine.facts())
        runs = written.setdefault("runs", [])
        runs.append(name)

        def save() -> None:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(written, indent=1) + "\n")

        done = run(faults, arguments.only or [""], written, save)
        print("waiting for the builders of killed jobs to expire", file=sys.stderr)
        outcomes = {case: [Outcome(**one) for one in found] for case, found in written["cases"].items() if case in done}
        everyone = [one for found in outcomes.values() for one in found]
        written["left"] = faults.settle(everyone, runs, seconds=arguments.settle)
        written["cases"] |= {case: [asdict(one) for one in found] for case, found in outcomes.items()}
        save()
    bad = [each for outcomes in written["cases"].values() for each in outcomes if each["faults"]]
    total = sum(len(outcomes) for outcomes in written["cases"].values())
    print(f"{total - len(bad)} of {total} builds came to the right end; left: {written['left'] or 'nothing'}")
    return int(bool(bad or written["left"]))


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    made.add_argument("--only", nargs="+", metavar="PREFIX", help="cases whose names begin so")
    made.add_argument("--kills", type=int, default=32, metavar="N", help="jobs that are killed (default: 32)")
    made.add_argument("--crowd", type=int, default=30, metavar="N", help="jobs at once (default: 30)")
    made.add_argument("--settle", type=float, default=420, metavar="SECONDS", help="wait for killed jobs to expire")
    made.add_argument("--seed", type=int, default=9, metavar="N")
    made.add_argument("--cluster", default=layout.default_name(), metavar="NAME", help="the devcluster to use")
    file = RESULTS / f"faults-{time.strftime('%Y-%m-%d')}.json"
    made.add_argument("--json", type=Path, default=file, metavar="FILE", help="results, read to go on with")
    return made


if __name__ == "__main__":
    sys.exit(main())
