"""A cluster in memory: an API server on a loopback port, and pods whose buildkitd a test scripts.

It does what the product relies on: names are unique, watches report changes, workloads have pods, the pods of a builder
start once its Secret exists, and an object goes with its namespace or workload. It checks no schema and no rights.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ci_buildx.builder import labels
from ci_buildx.model.secret import Secret
from ci_buildx.settings.values import ClusterSettings
from tests.unit.scripted_buildkitd import Script, ScriptedBuildkitd

Manifest = dict[str, Any]
USER = "system:serviceaccount:ci:jobs"
_NUMBERS = itertools.count()
_WORKLOADS = ("jobs", "deployments", "statefulsets")


class Refusal(Exception):
    """An answer other than 2xx, as a metav1.Status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


@dataclass
class _Rule:
    """The refusal of requests of ``method`` whose path matches, and whose body is one that ``applies``.

    ``left`` is how often, None for always.
    """

    method: str
    path: re.Pattern[str]
    refusal: Refusal
    left: int | None
    applies: Callable[[Any], bool]


@dataclass
class _Change:
    version: int
    kind: str
    place: str
    manifest: Manifest


def start_pod(_: Manifest) -> Manifest | None:
    """Let a pod start in the usual way."""
    return None


def make_kube_node(architecture: str) -> Manifest:
    """A cluster node that is ready."""
    marks = {labels.ARCHITECTURE: architecture, "kubernetes.io/os": "linux"}
    return {
        "metadata": {"name": f"worker-{architecture}", "labels": marks},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.34.2", "architecture": architecture},
        },
    }


@dataclass
class MemoryCluster:
    """The cluster; a test reads ``objects`` and ``asked`` and sets the rest.

    ``boot`` returns the status of a new pod, or None for a pod that starts. ``platforms`` is what each buildkitd runs;
    by default its cluster node's. ``allows`` answers a SelfSubjectAccessReview by its resource attributes,
    ``accounts_may`` a review of another account. ``logs`` is what each container has printed. ``meanwhile`` is called
    after each object that was created, with its path.
    """

    script: Script = field(default_factory=Script)
    objects: dict[str, Manifest] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    boot: Callable[[Manifest], Manifest | None] = start_pod
    allows: Callable[[Mapping[str, str]], bool] = lambda _: True
    accounts_may: bool = True
    logs: str = ""
    meanwhile: Callable[[str], object] = lambda _: None
    platforms: tuple[str, ...] = ()
    port: int = 0

    def __post_init__(self) -> None:
        self._rules: list[_Rule] = []
        self._log: list[_Change] = []
        self._version = 0
        self._changed = threading.Condition(threading.RLock())
        self._daemons: dict[str, ScriptedBuildkitd] = {}
        self._closed = False
        self.undo = ExitStack()
        for name in ("default", "ci"):
            self.put(f"/api/v1/namespaces/{name}", {"kind": "Namespace", "metadata": {"name": name}})
        for architecture in ("amd64", "arm64"):
            node = make_kube_node(architecture)
            self.put(f"/api/v1/nodes/{node['metadata']['name']}", node)

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig of this cluster, whose context has the namespace ``ci``."""
        server = f"http://127.0.0.1:{self.port}"
        found = {
            "clusters": [{"name": "memory", "cluster": {"server": server}}],
            "contexts": [{"name": "memory", "context": {"cluster": "memory", "namespace": "ci"}}],
            "current-context": "memory",
        }
        return json.dumps(found)

    @property
    def settings(self) -> ClusterSettings:
        """Access to this cluster, as the product takes it."""
        return ClusterSettings(content=Secret(self.kubeconfig))

    def refuse(
        self,
        method: str,
        path: str,
        *,
        status: int = 403,
        reason: str = "Forbidden",
        message: str = "no",
        times: int = 0,
        applies: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        """Refuse requests whose path matches the pattern and whose body ``applies``; ``times`` 0 is without end."""
        rule = _Rule(method, re.compile(path), Refusal(status, reason, message), times or None, applies)
        self._rules.append(rule)

    def list_names(self, plural: str, *, namespace: str = "") -> list[str]:
        """The names of all objects of a kind, sorted."""
        middle = f"/namespaces/{namespace}/" if namespace else "/"
        places = [place for place in self.objects if place.rsplit("/", 2)[1] == plural and middle in place]
        return sorted(place.rsplit("/", 1)[1] for place in places)

    def find(self, plural: str, name: str = "") -> Manifest:
        """The object of a kind that has the name, or the only one."""
        (found,) = (
            one
            for place, one in self.objects.items()
            if place.rsplit("/", 2)[1] == plural and name in ("", one["metadata"]["name"])
        )
        return found

    def set_status(self, plural: str, name: str, status: Manifest) -> None:
        """Change an object's status, as its controller does."""
        with self._changed:
            (place,) = (one for one in self.objects if one.endswith(f"/{plural}/{name}"))
            self.put(place, self.objects[place] | {"status": status})

    # Requests.

    def answer(self, method: str, target: str, body: Manifest | list[Any]) -> Manifest:
        """Answer one request. Raises Refusal."""
        path, query = _split(target)
        with self._changed:
            self._check_rules(method, path, body)
            match method:
                case "GET":
                    return self._read(path, query)
                case "POST":
                    assert isinstance(body, dict)
                    return self._create(path, query, body)
                case "PATCH":
                    return self._patch(path, query, body)
                case _:
                    self._check_preconditions(path, body)
                    return self._delete(path, query)

    def _check_rules(self, method: str, path: str, body: object) -> None:
        for rule in self._rules:
            if rule.method == method and rule.path.search(path) and rule.left != 0 and rule.applies(body):
                rule.left = None if rule.left is None else rule.left - 1
                raise rule.refusal

    def _read(self, path: str, query: Mapping[str, str]) -> Manifest:
        if path == "/version":
            return {"gitVersion": "v1.34.2", "major": "1", "minor": "34"}
        if path in self.objects:
            return self.objects[path]
        if not _is_collection(path):
            *_, plural, name = path.split("/")
            raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
        items = [self.objects[place] for place in self._select(path, query)]
        return {"kind": "List", "metadata": {"resourceVersion": str(self._version)}, "items": items}

    def _select(self, path: str, query: Mapping[str, str]) -> list[str]:
        return [place for place, one in self.objects.items() if _is_in(place, path) and _matches(one, query)]

    def _create(self, path: str, query: Mapping[str, str], body: Manifest) -> Manifest:
        if path.endswith("reviews"):
            return body | {"status": self._review(body)}
        namespace = path.partition("/namespaces/")[2].partition("/")[0]
        if namespace and f"/api/v1/namespaces/{namespace}" not in self.objects:
            raise Refusal(404, "NotFound", f'namespaces "{namespace}" not found')
        metadata = dict(body["metadata"])
        if namespace:
            metadata["namespace"] = namespace
        place = f"{path}/{metadata['name']}"
        if place in self.objects:
            raise Refusal(409, "AlreadyExists", f'{place.rsplit("/", 2)[1]} "{metadata["name"]}" already exists')
        made = body | {"metadata": metadata}
        if "dryRun" in query:
            return made | {"metadata": metadata | {"uid": "dry-run"}}
        self.put(place, made)
        found = self.objects[place]
        self.meanwhile(place)
        return found

    def _review(self, body: Manifest) -> Manifest:
        if body["kind"] == "SelfSubjectReview":
            return {"userInfo": {"username": USER}}
        if body["kind"] == "SubjectAccessReview":
            return {"allowed": self.accounts_may}
        return {"allowed": self.allows(body["spec"]["resourceAttributes"])}

    def _patch(self, path: str, query: Mapping[str, str], body: Manifest | list[Any]) -> Manifest:
        found: Manifest = json.loads(json.dumps(self._read(path, {})))
        if isinstance(body, list):
            for step in body:
                *way, last = step["path"].strip("/").split("/")
                target = found
                for name in way:
                    target = target.setdefault(name, {})
                target[last] = step["value"]
        else:
            wanted = body.get("metadata", {}).get("resourceVersion")
            if wanted not in (None, found["metadata"]["resourceVersion"]):
                raise Refusal(409, "Conflict", "the object has been modified")
            _merge(found, body)
        if "dryRun" not in query:
            self.put(path, found)
        return found

    def _check_preconditions(self, path: str, body: Manifest | list[Any]) -> None:
        wanted = body.get("preconditions", {}) if isinstance(body, dict) else {}
        found = self.objects.get(path, {"metadata": wanted})["metadata"]
        if any(found.get(name) != value for name, value in wanted.items()):
            raise Refusal(409, "Conflict", "the object has been modified")

    def _delete(self, path: str, query: Mapping[str, str]) -> Manifest:
        if not _is_collection(path):
            self._read(path, {})
        for place in self._select(path, query) if _is_collection(path) else [path]:
            self.remove(place)
        return {"kind": "Status", "status": "Success"}

    # State.

    def put(self, place: str, manifest: Manifest) -> None:
        """Store an object, as a controller or an administrator does."""
        with self._changed:
            self._version += 1
            kind = "MODIFIED" if place in self.objects else "ADDED"
            made = {"uid": f"uid-{self._version}", "creationTimestamp": _read_clock()}
            metadata = made | manifest["metadata"] | {"resourceVersion": str(self._version)}
            manifest = manifest | {"metadata": metadata}
            self.objects[place] = manifest
            self._note(kind, place, manifest)
            plural = place.rsplit("/", 2)[1]
            if plural in _WORKLOADS:
                self._run_workload(place, manifest)
            if plural in (*_WORKLOADS, "secrets"):
                self._start_pods()

    def remove(self, place: str) -> None:
        """Remove an object with everything that belongs to it."""
        with self._changed:
            if (found := self.objects.pop(place, None)) is None:
                return
            if daemon := self._daemons.pop(place, None):
                threading.Thread(target=daemon.stop, daemon=True).start()
            self._version += 1
            self._note(
                "DELETED", place, found | {"metadata": found["metadata"] | {"resourceVersion": str(self._version)}}
            )
            name, uid = found["metadata"]["name"], found["metadata"].get("uid", "none")
            for other, one in list(self.objects.items()):
                inside = place == f"/api/v1/namespaces/{name}" and f"/namespaces/{name}/" in other
                if inside or uid in {owner["uid"] for owner in one["metadata"].get("ownerReferences", ())}:
                    self.remove(other)

    def _note(self, kind: str, place: str, manifest: Manifest) -> None:
        self._log.append(_Change(self._version, kind, place, json.loads(json.dumps(manifest))))
        self._changed.notify_all()

    def _run_workload(self, place: str, workload: Manifest) -> None:
        """Give a workload as many pods as it wants."""
        metadata, spec = workload["metadata"], workload["spec"]
        folder = f"/api/v1/namespaces/{metadata['namespace']}/pods"
        wanted = {f"{metadata['name']}-{index}" for index in range(spec.get("replicas", spec.get("parallelism", 1)))}
        own = {
            one["metadata"]["name"]
            for other, one in self.objects.items()
            if _is_in(other, folder) and one["metadata"]["ownerReferences"][0]["uid"] == metadata["uid"]
        }
        for name in own - wanted:
            self.remove(f"{folder}/{name}")
        for name in sorted(wanted - own):
            template = spec["template"]
            pod = {
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "labels": template["metadata"]["labels"],
                    "ownerReferences": [
                        {"kind": workload.get("kind", ""), "name": metadata["name"], "uid": metadata["uid"]}
                    ],
                },
                "spec": template["spec"],
            }
            self.put(f"{folder}/{name}", pod)

    def _start_pods(self) -> None:
        """Start the pods that have no status yet, once their builder's Secret exists."""
        for place, pod in list(self.objects.items()):
            if not place.endswith(f"/pods/{pod['metadata']['name']}") or "status" in pod:
                continue
            if (status := self.boot(pod)) is not None:
                hosted = {} if status.get("unplaced") else {"nodeName": self._choose_host(pod)}
                self.put(place, pod | {"spec": pod["spec"] | hosted, "status": status})
                continue
            secret = self._find_keys(pod)
            if secret is None:
                continue
            host = self._choose_host(pod)
            ip = _make_address()
            platforms = self.platforms or (f"linux/{host.removeprefix('worker-')}",)
            self._daemons[place] = ScriptedBuildkitd(self.script, ip, platforms, secret["data"])
            running = {"name": "buildkitd", "ready": True, "started": True, "state": {"running": {}}}
            status = {
                "phase": "Running",
                "podIP": ip,
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
                "containerStatuses": [running],
            }
            self.put(place, pod | {"spec": pod["spec"] | {"nodeName": host}, "status": status})

    def _choose_host(self, pod: Manifest) -> str:
        wanted = (pod["spec"].get("nodeSelector") or {}).get(labels.ARCHITECTURE)
        hosts = self.list_names("nodes")
        return next(host for host in hosts if wanted in (None, host.removeprefix("worker-")))

    def _find_keys(self, pod: Manifest) -> Manifest | None:
        folder = f"/api/v1/namespaces/{pod['metadata']['namespace']}/secrets"
        builder = pod["metadata"]["labels"].get(labels.BUILDER)
        for place, one in self.objects.items():
            marks = one["metadata"].get("labels") or {}
            if _is_in(place, folder) and place.endswith("keys") and marks.get(labels.BUILDER) == builder:
                return one
        return None

    def watch(self, target: str) -> Iterator[bytes]:
        """Yield the events of a watch until the cluster ends."""
        path, query = _split(target)
        with self._changed:
            self._check_rules("GET", path, {})
            since = int(query.get("resourceVersion") or 0)
            if not since:
                since = self._version
                first = [_Change(0, "ADDED", place, self.objects[place]) for place in self._select(path, query)]
                yield from map(_encode_event, first)
        position = 0
        while not self._closed:
            with self._changed:
                while position >= len(self._log) and not self._closed:
                    self._changed.wait(0.5)
                    yield b""
                found, position = self._log[position:], len(self._log)
            for change in found:
                if change.version > since and _is_in(change.place, path) and _matches(change.manifest, query):
                    yield _encode_event(change)

    def close(self) -> None:
        """End all watches and daemons, and what a test has put into ``undo``."""
        self.undo.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for daemon in self._daemons.values():
            daemon.stop()


class _Requests(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def respond(self) -> None:
        cluster = self.server.cluster
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, query = _split(self.path)
        cluster.asked.append(f"{self.command} {path}")
        try:
            if "watch" in query:
                self.stream(cluster.watch(self.path))
            elif path.endswith("/log"):
                cluster.answer("GET", path.removesuffix("/log"), {})
                self.send(200, cluster.logs.encode())
            else:
                self.send_json(200, cluster.answer(self.command, self.path, json.loads(body) if body else {}))
        except Refusal as refusal:
            status = {"kind": "Status", "code": refusal.status, "reason": refusal.reason, "message": str(refusal)}
            self.send_json(refusal.status, status)

    do_GET = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815 - names of http.server

    def stream(self, events: Iterator[bytes]) -> None:
        first = next(events, b"")
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        for line in itertools.chain([first], events):
            try:
                self.wfile.write(line)
                self.wfile.flush()
            except OSError:
                return

    def send_json(self, status: int, manifest: object) -> None:
        self.send(status, json.dumps(manifest).encode())

    def send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def finish(self) -> None:
        with suppress(ConnectionError):  # the client has gone
            super().finish()
        self.rfile.close()  # which finish leaves open then, and with it the socket


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.cluster = cluster


@contextmanager
def serve_cluster() -> Iterator[MemoryCluster]:
    """Serve a cluster's API on a port of the loopback address."""
    cluster = MemoryCluster()
    server = _Server(cluster)
    cluster.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield cluster
    finally:
        cluster.close()
        server.shutdown()
        server.server_close()
        thread.join()


def _split(target: str) -> tuple[str, dict[str, str]]:
    url = urlsplit(target)
    return url.path, dict(parse_qsl(url.query))


def _is_collection(path: str) -> bool:
    parts = path.strip("/").split("/")
    inside = (
        parts[parts.index("namespaces") + 2 :] if "namespaces" in parts[:-2] else parts[2 if parts[0] == "api" else 3 :]
    )
    return len(inside) == 1


def _is_in(place: str, collection: str) -> bool:
    """Whether an object is in a collection, which may be that of all namespaces."""
    folder = place.rsplit("/", 1)[0]
    return folder == collection or re.sub(r"/namespaces/[^/]+(?=/)", "", folder) == collection


def _matches(manifest: Manifest, query: Mapping[str, str]) -> bool:
    marks = manifest["metadata"].get("labels") or {}
    selector = re.sub(r",(?=[^(]*\))", ";", query.get("labelSelector", ""))
    for part in filter(None, selector.split(",")):
        if found := re.fullmatch(r"(\S+) notin \((.*)\)", part):
            if marks.get(found[1]) in found[2].split(";"):
                return False
        elif "=" in part:
            name, _, value = part.partition("=")
            if marks.get(name) != value:
                return False
        elif part not in marks:
            return False
    field, _, value = query.get("fieldSelector", "").partition("=")
    if field == "spec.unschedulable":
        return bool(manifest.get("spec", {}).get("unschedulable")) == (value == "true")
    return value in ("", manifest["metadata"]["name"])


def _merge(target: Manifest, patch: Manifest) -> None:
    """Apply a merge patch (RFC 7386)."""
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(name, {}), value)
        else:
            target[name] = value


def _encode_event(change: _Change) -> bytes:
    return json.dumps({"type": change.kind, "object": change.manifest}).encode() + b"\n"


def _make_address() -> str:
    """An address of the loopback that no other pod and no other test run uses: buildkitd's port is fixed."""
    return f"127.{2 + next(_NUMBERS) % 250}.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"


def _read_clock() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
