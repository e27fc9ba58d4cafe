"""Lists of the manifests that refer to another, from registries with the referrers API and without."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci_buildx.errors import RegistryError
from ci_buildx.registry import client as client_module
from ci_buildx.registry.client import MOST_PAGES, RegistryClient, RegistryRepository
from ci_buildx.registry.content import OCI_INDEX, OCI_MANIFEST, compute_digest
from ci_buildx.registry.credentials import CredentialStore
from ci_buildx.registry.stores import RegistryStore
from tests.unit.registry.scripted import Registry, Reply

SUBJECT = compute_digest(b"subject")
API = f"/v2/app/referrers/{SUBJECT}"
TAG = f"/v2/app/manifests/{SUBJECT.replace(':', '-')}"
HEADERS = {"Content-Type": OCI_INDEX}


def entry(name: str) -> dict[str, Any]:
    return {"mediaType": OCI_MANIFEST, "digest": compute_digest(name.encode()), "size": 1, "artifactType": name}


def index(*names: str) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*map(entry, names)]}).encode()


def names(registry: Registry) -> list[str]:
    """The artifact types of what refers to the subject."""
    with RegistryClient(CredentialStore([], env={})) as client:
        store = RegistryStore(client, RegistryRepository(registry.address, "app"))
        return [one["artifactType"] for one in store.list_referrers(SUBJECT)]


def test_the_api_is_asked_first(registry: Registry) -> None:
    registry.on(f"GET {API}", Reply(body=index("a", "b"), headers=HEADERS))
    assert names(registry) == ["a", "b"]
    assert registry.count(f"GET {TAG}") == 0


def test_without_the_api_there_is_a_tag(registry: Registry) -> None:
    registry.on(f"GET {TAG}", Reply(body=index("a"), headers=HEADERS))
    assert names(registry) == ["a"]


def test_an_answer_that_is_not_a_list_counts_as_no_api(registry: Registry) -> None:
    registry.on(f"GET {API}", Reply(body=b"<html>", headers={"Content-Type": "text/html"}))
    registry.on(f"GET {TAG}", Reply(body=index("a"), headers=HEADERS))
    assert names(registry) == ["a"]


def test_no_referrers(registry: Registry) -> None:
    assert names(registry) == []


def test_a_registry_that_refuses_the_tag_is_an_error(registry: Registry) -> None:
    registry.on(f"GET {TAG}", Reply(403))
    with pytest.raises(RegistryError, match="status 403"):
        names(registry)


def test_pages_are_followed_at_the_registry_only(registry: Registry) -> None:
    registry.on(f"GET {API}", Reply(body=index("a"), headers={**HEADERS, "Link": f'<{API}?next=2>; rel="next"'}))
    foreign = {**HEADERS, "Link": '<http://127.0.0.2:1/v2/evil>; rel="next"'}
    registry.on(f"GET {API}?next=2", Reply(body=index("b"), headers=foreign))
    assert names(registry) == ["a", "b"]


def test_pages_without_end_are_left(registry: Registry) -> None:
    registry.on(f"GET {API}", Reply(body=index("a"), headers={**HEADERS, "Link": f'<{API}>; rel="next"'}))
    assert len(names(registry)) == MOST_PAGES


def test_referrers_without_end_are_left(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_REFERRERS", 10)
    registry.on(f"GET {API}", Reply(body=index(*"abcdefgh"), headers={**HEADERS, "Link": f'<{API}>; rel="next"'}))
    with pytest.raises(RegistryError, match=r"lists more than 10 referrers"):
        names(registry)
