"""The routing table against what every service says of itself."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest

from posthorn_gateway.domain.openapi import merge
from posthorn_gateway.domain.routes import Entrance, RoutingTable, Service

pytestmark = pytest.mark.contract
TABLE = RoutingTable()
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}


def _document(service: str) -> dict[str, Any]:
    commands = importlib.import_module(f"posthorn_{service}.entrypoints.cli").COMMANDS
    document: dict[str, Any] = commands.openapi()
    return document


def _operations(service: str) -> list[tuple[str, str]]:
    return [
        (method.upper(), path)
        for path, item in _document(service)["paths"].items()
        for method in item
        if method in METHODS
    ]


@pytest.mark.parametrize("service", [str(service) for service in Service])
def test_every_public_operation_of_a_service_reaches_it(service: str) -> None:
    operations = _operations(service)
    assert operations
    elsewhere = {
        f"{method} {path}": str(route.service) if route else None
        for method, path in operations
        if (route := TABLE.find(method, path)) is None or route.service != service
    }
    assert elsewhere == {}


@pytest.mark.parametrize("service", [str(service) for service in Service])
def test_public_paths_begin_as_they_should(service: str) -> None:
    prefixes = (
        "/v1/", "/t/", "/u/", "/s/", "/confirm/", "/preferences/", "/exports/", "/access-archives/", "/account/",
        "/.well-known/",
    )  # fmt: skip
    assert [path for _method, path in _operations(service) if not path.startswith(prefixes)] == []


def test_the_gateways_own_pages_go_to_no_service() -> None:
    paths = [path for _method, path in _operations("gateway")]
    paths += ["/docs", "/openapi.json", "/health/live", "/health/services", "/metrics", "/internal/messages"]
    assert [path for path in paths if TABLE.find("GET", path) is not None] == []


def test_all_documents_become_one_without_renaming_operations() -> None:
    documents = {str(service): _document(service) for service in Service}
    merged = merge(documents, info={}, servers=[], is_public=lambda _service, _path: True)
    ids = [
        (method.upper(), path, operation["operationId"])
        for path, item in merged["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    theirs = {
        (method.upper(), path, operation["operationId"])
        for document in documents.values()
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }
    assert set(ids) == theirs, "operation ids are unique over all services"
    assert len({id_ for _method, _path, id_ in ids}) == len(ids)


def test_every_reference_of_the_whole_document_leads_somewhere() -> None:
    documents = {str(service): _document(service) for service in Service}
    merged = merge(documents, info={}, servers=[], is_public=lambda _service, _path: True)
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(merged)))
    assert references
    known = {f"#/components/{kind}/{name}" for kind, items in merged["components"].items() for name in items}
    assert references - known == set()


def test_every_post_of_a_caller_documents_the_idempotency_key_and_nothing_else_does() -> None:
    documents = {str(service): _document(service) for service in Service}
    merged = merge(documents, info={}, servers=[], is_public=lambda _service, _path: True)
    with_key = {
        (method, path)
        for path, item in merged["paths"].items()
        for method, operation in item.items()
        if {"$ref": "#/components/parameters/IdempotencyKey"} in operation.get("parameters", [])
    }
    posts = {
        ("post", path)
        for path, item in merged["paths"].items()
        if (route := TABLE.find("POST", path)) is not None and route.entrance is Entrance.BEARER and "post" in item
    }
    assert posts
    assert with_key == posts
    assert all({"400", "409", "422"} <= set(merged["paths"][path]["post"]["responses"]) for _method, path in posts)


def test_no_two_schemas_of_a_service_share_a_name() -> None:
    clashes = {
        name
        for service in Service
        for name in _document(service)["components"]["schemas"]
        if "__" in name  # what FastAPI makes of two classes of one name
    }
    assert clashes == set(), "generators of clients would drop one of them"
