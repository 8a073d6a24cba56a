"""One OpenAPI 3.1 document made of several services'."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from posthorn_gateway.domain.idempotency import KEY_PATTERN, MAX_KEY_CHARACTERS

Json = dict[str, Any]

OPENAPI_VERSION = "3.1.0"
SECURITY_SCHEME = "bearer"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_COMPONENT_REFERENCE = "#/components/"
_PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
# What the gateway may answer to any request, to one whose path has variables, to one with a body.
_OWN_ANSWERS = {
    "400": "The path, query or body cannot be read.",
    "429": "Too many requests. `Retry-After` says when to try again.",
    "502": "The answer of a service was not valid.",
    "503": "A service is not available. Try again.",
    "504": "A service did not answer in time.",
}
_ANSWERS_TO_PATHS = {"404": "There is nothing at this address."}
_ANSWERS_TO_BODIES = {"408": "The body did not arrive in time.", "413": "The body is too large."}
_IDEMPOTENCY_KEY = "IdempotencyKey"
_ANSWERS_TO_KEYS = {
    "400": "The Idempotency-Key is not valid.",
    "409": "The first request with this Idempotency-Key has no answer (yet) that could be given again.",
    "422": "The Idempotency-Key was used for another request.",
}


def merge(
    documents: Mapping[str, Json], *, info: Json, servers: list[Json], is_public: Callable[[str, str], bool]
) -> Json:
    """Return one document with the public paths of all services, in the order given.

    `is_public(service, path)` tells which paths belong in. A component that two services define differently keeps its
    name for the first; the other is named after its service. Operation ids are made unique in the same way.
    """
    merged: Json = {
        "openapi": OPENAPI_VERSION,
        "info": info,
        "servers": servers,
        "tags": [],
        "paths": {},
        "components": {
            "schemas": {},
            "parameters": {_IDEMPOTENCY_KEY: _idempotency_key()},
            "securitySchemes": {SECURITY_SCHEME: _security_scheme()},
        },
    }
    operation_ids: set[str] = set()
    for service, original in documents.items():
        document = _renamed(copy.deepcopy(original), service, merged["components"])
        for path, item in document.get("paths", {}).items():
            if is_public(service, path) and path not in merged["paths"]:
                for operation in _operations(item):
                    _adapt(operation, service, operation_ids)
                    _add_own_answers(operation, path)
                if "post" in item and item["post"].get("security"):
                    _add_idempotency_key(item["post"])
                merged["paths"][path] = item
        _add_tags(merged["tags"], document)
    _drop_unused(merged)
    return merged


def _security_scheme() -> Json:
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token from `POST /v1/auth/login`, or an API key (`ph_…`) from `POST /v1/api-keys`.",
    }


def _idempotency_key() -> Json:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": (
            "A text of your own, new for each request (a UUID, say): sent again within 24 hours by the same user or "
            "API key with the same body, the request is not carried out again but answered as before, with "
            "`Idempotent-Replayed: true`. With another body the answer is 422 `idempotency_key_reused`. While the "
            "first request runs it is 409 `idempotency_in_progress`; if that was interrupted, so that nobody knows "
            "its outcome, 409 `idempotency_outcome_unknown`. A request that was refused (4xx, 503) may be sent again "
            "with its key."
        ),
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS, "pattern": KEY_PATTERN},
        "example": "0198c2f4-7d1e-7c3a-9d57-2f6f1c1b9a10",
    }


def _add_idempotency_key(operation: Json) -> None:
    operation.setdefault("parameters", []).append({"$ref": f"{_COMPONENT_REFERENCE}parameters/{_IDEMPOTENCY_KEY}"})
    _add_problems(operation, _ANSWERS_TO_KEYS)


def _renamed(document: Json, service: str, known: Json) -> Json:
    """Add the document's components to `known`; return the document with its references changed to their new names."""
    components: dict[str, Json] = {
        kind: items for kind, items in document.get("components", {}).items() if kind != "securitySchemes"
    }
    names = {(kind, name) for kind, items in components.items() for name in items}
    differing = {
        (kind, name)
        for kind, name in names
        if name in known.get(kind, {}) and known[kind][name] != components[kind][name]
    }
    # What refers to something renamed is no longer the same either.
    while more := {
        (kind, name)
        for kind, name in names - differing
        if name in known.get(kind, {}) and not differing.isdisjoint(_references(components[kind][name]))
    }:
        differing |= more
    new_names = {(kind, name): _free_name(service, name, known.get(kind, {})) for kind, name in sorted(differing)}
    _change_references(document, new_names)
    for kind, items in components.items():
        for name, component in items.items():
            new_name = new_names.get((kind, name), name)
            if new_name != name and component.get("title") == name:
                component["title"] = new_name  # generators of clients name classes after it
            known.setdefault(kind, {}).setdefault(new_name, component)
    return document


def _free_name(service: str, name: str, taken: Json) -> str:
    candidate = f"{service.capitalize()}{name}"
    while candidate in taken:
        candidate += "_"
    return candidate


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of all components that a part of a document refers to."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref" and isinstance(item, str) and item.startswith(_COMPONENT_REFERENCE):
                kind, _, component = item.removeprefix(_COMPONENT_REFERENCE).partition("/")
                yield kind, component
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _change_references(value: Any, new_names: Mapping[tuple[str, str], str]) -> None:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            value["$ref"] = _changed(reference, new_names)
        mapping = value.get("mapping")
        if isinstance(mapping, dict):  # of a discriminator
            value["mapping"] = {
                name: _changed(item, new_names) if isinstance(item, str) else item for name, item in mapping.items()
            }
        for item in value.values():
            _change_references(item, new_names)
    elif isinstance(value, list):
        for item in value:
            _change_references(item, new_names)


def _changed(reference: str, new_names: Mapping[tuple[str, str], str]) -> str:
    if not reference.startswith(_COMPONENT_REFERENCE):
        return reference
    kind, _, name = reference.removeprefix(_COMPONENT_REFERENCE).partition("/")
    return f"{_COMPONENT_REFERENCE}{kind}/{new_names.get((kind, name), name)}"


def _operations(item: Json) -> Iterator[Json]:
    for method in _METHODS:
        if method in item:
            yield item[method]


def _adapt(operation: Json, service: str, operation_ids: set[str]) -> None:
    """Make an operation fit for the whole: a unique id, the one way to sign in."""
    id_ = operation.get("operationId")
    if id_ is not None:
        while id_ in operation_ids:
            id_ = f"{service}_{id_}"
        operation["operationId"] = id_
        operation_ids.add(id_)
    if operation.get("security"):
        operation["security"] = [{SECURITY_SCHEME: []}]


def _add_own_answers(operation: Json, path: str) -> None:
    _add_problems(operation, _OWN_ANSWERS)
    if "{" in path:
        _add_problems(operation, _ANSWERS_TO_PATHS)
    if "requestBody" in operation:
        _add_problems(operation, _ANSWERS_TO_BODIES)


def _add_problems(operation: Json, answers: Mapping[str, str]) -> None:
    """Add problem documents, beside what the service itself says with the same status."""
    for status, description in answers.items():
        answer = operation.setdefault("responses", {}).setdefault(status, {"description": description})
        for media_type, content in copy.deepcopy(_PROBLEM_CONTENT).items():
            answer.setdefault("content", {}).setdefault(media_type, content)


def _add_tags(tags: list[Json], document: Json) -> None:
    known = {tag["name"] for tag in tags}
    described = document.get("tags", [])
    used = [
        {"name": name}
        for item in document.get("paths", {}).values()
        for operation in _operations(item)
        for name in operation.get("tags", [])
    ]
    for tag in [*described, *used]:
        if tag["name"] not in known:
            known.add(tag["name"])
            tags.append(tag)


def _drop_unused(merged: Json) -> None:
    """Drop components that only paths which are not public refer to."""
    components: Json = merged["components"]
    needed: set[tuple[str, str]] = set()
    waiting = list(_references(merged["paths"]))
    while waiting:
        reference = waiting.pop()
        kind, name = reference
        if reference not in needed and name in components.get(kind, {}):
            needed.add(reference)
            waiting.extend(_references(components[kind][name]))
    used_tags = {
        tag for item in merged["paths"].values() for operation in _operations(item) for tag in operation.get("tags", [])
    }
    merged["tags"] = [tag for tag in merged["tags"] if tag["name"] in used_tags]
    for kind in list(components):
        if kind != "securitySchemes":
            components[kind] = {name: item for name, item in components[kind].items() if (kind, name) in needed}
