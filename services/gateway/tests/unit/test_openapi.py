"""Several documents become one."""

from __future__ import annotations

import copy
from typing import Any

from posthorn_gateway.domain.openapi import merge

Json = dict[str, Any]


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _service(path: str, schemas: Json, *, returns: str, operation_id: str = "get_it", **more: Any) -> Json:
    operation = {
        "operationId": operation_id,
        "security": [{"HTTPBearer": []}],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": _reference(returns)}}}},
        **more,
    }
    components = {"schemas": schemas, "securitySchemes": {"HTTPBearer": {"type": "http", "scheme": "bearer"}}}
    return {"openapi": "3.1.0", "paths": {path: {"get": operation}}, "components": components}


def _merge(**documents: Json) -> Json:
    return merge(documents, info={"title": "All"}, servers=[{"url": "/"}], is_public=lambda _service, _path: True)


def _returned(document: Json, path: str) -> str:
    schema: str = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    return schema.rpartition("/")[2]


PAGE_A: Json = {"type": "object", "properties": {"items": {"type": "array", "items": _reference("Thing")}}}
THING_A: Json = {"type": "object", "properties": {"a": {"type": "string"}}}
THING_B: Json = {"type": "object", "properties": {"b": {"type": "string"}}}


def test_equal_components_are_shared() -> None:
    merged = _merge(
        auth=_service("/a", {"Page": PAGE_A, "Thing": THING_A}, returns="Page"),
        mailer=_service("/b", {"Page": PAGE_A, "Thing": THING_A}, returns="Page"),
    )
    assert set(merged["components"]["schemas"]) == {"Page", "Thing"}
    assert _returned(merged, "/a") == _returned(merged, "/b") == "Page"


def test_different_components_of_one_name_are_kept_apart_and_so_is_what_refers_to_them() -> None:
    documents = {
        "auth": _service("/a", {"Page": PAGE_A, "Thing": THING_A}, returns="Page"),
        "mailer": _service("/b", {"Page": PAGE_A, "Thing": THING_B}, returns="Page"),
    }
    originals = copy.deepcopy(documents)
    merged = _merge(**documents)
    assert documents == originals, "the services' documents are not changed"
    schemas = merged["components"]["schemas"]
    assert schemas["Thing"] == THING_A
    assert schemas["MailerThing"] == THING_B
    assert (_returned(merged, "/a"), _returned(merged, "/b")) == ("Page", "MailerPage")
    assert schemas["Page"]["properties"]["items"]["items"] == _reference("Thing")
    assert schemas["MailerPage"]["properties"]["items"]["items"] == _reference("MailerThing")


def test_a_component_with_another_name_has_it_as_its_title_too() -> None:
    documents = {
        "auth": _service("/a", {"Thing": {"title": "Thing", **THING_A}}, returns="Thing"),
        "mailer": _service("/b", {"Thing": {"title": "Thing", **THING_B}}, returns="Thing"),
    }
    schemas = _merge(**documents)["components"]["schemas"]
    assert {name: schema["title"] for name, schema in schemas.items()} == {
        "Thing": "Thing",
        "MailerThing": "MailerThing",
    }


def test_components_may_refer_to_themselves() -> None:
    node_a: Json = {"properties": {"next": _reference("Node"), "a": {}}}
    node_b: Json = {"properties": {"next": _reference("Node"), "b": {}}}
    merged = _merge(
        auth=_service("/a", {"Node": node_a}, returns="Node"), mailer=_service("/b", {"Node": node_b}, returns="Node")
    )
    schemas = merged["components"]["schemas"]
    assert schemas["MailerNode"]["properties"]["next"] == _reference("MailerNode")
    assert schemas["Node"]["properties"]["next"] == _reference("Node")


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    merged = _merge(
        auth=_service("/a", {"Thing": THING_A, "MailerThing": PAGE_A}, returns="MailerThing"),
        mailer=_service("/b", {"Thing": THING_B}, returns="Thing"),
    )
    assert merged["components"]["schemas"]["MailerThing_"] == THING_B
    assert _returned(merged, "/b") == "MailerThing_"


def test_discriminators_follow() -> None:
    union: Json = {
        "oneOf": [_reference("Thing")],
        "discriminator": {"propertyName": "kind", "mapping": {"thing": "#/components/schemas/Thing"}},
    }
    merged = _merge(
        auth=_service("/a", {"Thing": THING_A}, returns="Thing"),
        mailer=_service("/b", {"Thing": THING_B, "Union": union}, returns="Union"),
    )
    mapping = merged["components"]["schemas"]["Union"]["discriminator"]["mapping"]
    assert mapping == {"thing": "#/components/schemas/MailerThing"}


def test_a_property_called_mapping_is_no_discriminator() -> None:
    thing: Json = {"properties": {"mapping": {"type": "object"}}}
    merged = _merge(auth=_service("/a", {"Thing": thing}, returns="Thing"))
    assert merged["components"]["schemas"]["Thing"] == thing


def test_operation_ids_are_unique_and_there_is_one_way_to_sign_in() -> None:
    open_route = _service("/c", {"Thing": THING_A}, returns="Thing", operation_id="open")
    del open_route["paths"]["/c"]["get"]["security"]
    merged = _merge(
        auth=_service("/a", {"Thing": THING_A}, returns="Thing"),
        mailer=_service("/b", {"Thing": THING_A}, returns="Thing"),
        analytics=open_route,
    )
    operations = [item["get"] for item in merged["paths"].values()]
    assert [operation["operationId"] for operation in operations] == ["get_it", "mailer_get_it", "open"]
    assert [operation.get("security") for operation in operations] == [[{"bearer": []}], [{"bearer": []}], None]
    assert list(merged["components"]["securitySchemes"]) == ["bearer"]
    assert {"429", "503", "504"} <= set(operations[0]["responses"])


def test_what_is_not_public_leaves_no_trace() -> None:
    secret = _service("/internal/x", {"Secret": THING_A}, returns="Secret", tags=["internal"])
    public = _service("/v1/x", {"Thing": THING_B}, returns="Thing", tags=["things"])
    secret["paths"].update(public["paths"])
    secret["components"]["schemas"].update(public["components"]["schemas"])
    merged = merge({"auth": secret}, info={}, servers=[], is_public=lambda _service, path: path.startswith("/v1"))
    assert list(merged["paths"]) == ["/v1/x"]
    assert list(merged["components"]["schemas"]) == ["Thing"]
    assert merged["tags"] == [{"name": "things"}]
