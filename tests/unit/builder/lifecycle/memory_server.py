"""An API server's memory, and a lasting builder in it."""

from __future__ import annotations

import json
from typing import Any, cast

from ci_buildx.builder.builder import locate_lasting_builder
from ci_buildx.builder.lifecycle import create as lifecycle_create
from ci_buildx.builder.lifecycle.create import NodeRequest
from ci_buildx.builder.lifecycle.records import StoredBuilder
from ci_buildx.builder.manifests import certificates
from ci_buildx.errors import Conflict, KubeError, NotFound
from ci_buildx.kube.client import KubeClient
from ci_buildx.settings.builder import BuilderSettings

LOCATION = locate_lasting_builder("kube", "ci")
KEYS = "/api/v1/namespaces/ci/secrets/kube-keys"
NODE = "/apis/apps/v1/namespaces/ci/deployments/kube0"


class Server:
    """An API server's memory. It drops hostUsers where ``drops``; ``refuses`` has what goes wrong, by verb and path."""

    def __init__(self, *, drops: bool = False) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.drops = drops
        self.refuses: dict[tuple[str, str], KubeError] = {}
        self.server_time = 1_777_636_810.0
        self.meanwhile: list[Any] = []
        """What others do just before a patch."""

    def get(self, path: str) -> dict[str, Any]:
        if path not in self.objects:
            raise NotFound(path, status=404)
        return cast("dict[str, Any]", json.loads(json.dumps(self.objects[path])))

    def create(self, path: str, body: dict[str, Any], **query: str) -> dict[str, Any]:
        place = f"{path}/{body['metadata']['name']}"
        self._check("create", place)
        if place in self.objects:
            raise Conflict("exists", status=409)
        return self._keep(place, body, dry="dryRun" in query)

    def patch(self, path: str, body: Any, kind: str = "merge", **query: str) -> dict[str, Any]:
        self._check("patch", path)
        if self.meanwhile and "dryRun" not in query:
            self.meanwhile.pop(0)()
        found = self.get(path)
        if kind == "json":
            for step in body:
                *way, last = step["path"].strip("/").split("/")
                target = found
                for name in way:
                    target = target[name]
                target[last] = step["value"]
            return self._keep(path, found, dry="dryRun" in query)
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted not in (None, found["metadata"]["resourceVersion"]):
            raise Conflict("changed", status=409)
        found["metadata"]["annotations"] = {
            **found["metadata"].get("annotations", {}),
            **body.get("metadata", {}).get("annotations", {}),
        }
        found["data"] = {**found.get("data", {}), **body.get("data", {})}
        return self._keep(path, found)

    def delete(self, path: str, options: Any = None, **_query: str) -> dict[str, Any]:
        self._check("delete", path)
        for place in [one for one in self.objects if one == path or one.startswith(f"{path}/")]:
            del self.objects[place]
        return {}

    def list(self, path: str, **_query: str) -> dict[str, Any]:
        return {"items": [found for place, found in self.objects.items() if place.startswith(f"{path}/")]}

    def _check(self, verb: str, path: str) -> None:
        if failure := self.refuses.get((verb, path)):
            raise failure

    def _keep(self, place: str, body: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
        kept = json.loads(json.dumps(body))
        version = int(self.objects.get(place, {}).get("metadata", {}).get("resourceVersion", 0))
        kept["metadata"] |= {"resourceVersion": str(version + 1), "uid": "u"}
        if self.drops and "template" in kept.get("spec", {}):
            kept["spec"]["template"]["spec"].pop("hostUsers", None)
        if not dry:
            self.objects[place] = kept
        return cast("dict[str, Any]", json.loads(json.dumps(kept)))


def claimed(server: Server) -> StoredBuilder:
    """A builder without nodes."""
    lifecycle_create.claim_name(client(server), LOCATION, certificates.issue(certificates.NAMES, 3600))
    return StoredBuilder(location=LOCATION, nodes=())


def client(server: Server) -> KubeClient:
    return cast("KubeClient", server)


def order(**settings: Any) -> NodeRequest:
    return NodeRequest(settings=BuilderSettings(**settings))
