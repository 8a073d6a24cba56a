"""The common HTTP application: problems, ids, identity, pages, limits, health."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, ClassVar

import httpx
import pytest
import pytest_asyncio
from fastapi import APIRouter, Depends, FastAPI

from posthorn_common.clock import new_id
from posthorn_common.errors import TransientError
from posthorn_common.http.app import AppParts, create_app
from posthorn_common.http.identity import internal_caller, requires
from posthorn_common.http.pagination import Page, Paging, decode_cursor, encode_cursor
from posthorn_common.testing import TokenMint
from posthorn_common.tokens import Principal

MINT = TokenMint()
ORGANISATION = new_id()


class ThingNotFound(Exception):
    code: ClassVar[str] = "thing_not_found"
    details: ClassVar[dict[str, str]] = {"thing": "7"}


def _router() -> APIRouter:
    router = APIRouter()

    @router.get("/things")
    async def list_things(caller: Annotated[Principal, Depends(requires("things:read"))], page: Paging) -> Page[str]:
        return Page(items=[str(caller.organisation_id), str(page.limit), str(page.after)], next_cursor=None)

    @router.get("/things/{thing}")
    async def get_thing(thing: str) -> str:
        raise {
            "away": TransientError("no"),
            "lost": ConnectionRefusedError("secret host"),
            "broken": ValueError("secret detail"),
        }.get(thing, ThingNotFound("No 7."))

    @router.post("/things")
    async def add_thing(body: dict[str, int]) -> dict[str, int]:
        return body

    @router.get("/internal/things")
    async def internal(caller: Annotated[str, Depends(internal_caller)]) -> str:
        return caller

    return router


async def _broken() -> None:
    raise ConnectionError("secret host")


def application(**checks: object) -> FastAPI:
    return create_app(
        AppParts(
            service="sample",
            title="Sample",
            description="",
            routers=(_router(),),
            identity=MINT.identity("sample"),
            checks=checks,  # type: ignore[arg-type]
            error_statuses={ThingNotFound: 404},
            max_body_bytes=100,
        )
    )


@pytest_asyncio.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application())
    async with httpx.AsyncClient(transport=transport, base_url="http://sample") as http:
        yield http


def _bearer(*scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {MINT.access_token(ORGANISATION, set(scopes))}"}


async def test_a_domain_error_is_a_problem_with_its_code_and_details(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/7")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["detail"], problem["thing"]) == ("thing_not_found", "No 7.", "7")
    assert problem["request_id"] == answer.headers["x-request-id"]


async def test_an_unexpected_error_says_nothing_of_its_inside(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_transient_error_asks_to_come_back(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/away")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_lost_connection_is_no_fault_of_ours_either(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/lost")
    assert (answer.status_code, answer.json()["code"]) == (503, "temporarily_unavailable")
    assert "Retry-After" in answer.headers
    assert "secret" not in answer.text


async def test_invalid_bodies_and_unknown_paths_are_problems(client: httpx.AsyncClient) -> None:
    wrong = await client.post("/things", json={"a": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")
    assert wrong.json()["errors"][0]["location"] == "body.a"
    unknown = await client.get("/nowhere")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    method = await client.put("/things")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")


async def test_malformed_json_is_answered_with_the_place_and_the_reason(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", content=b'{"a": ', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"] == [
        {"location": "body", "message": "Not JSON at character 6: Expecting value", "code": "json_invalid"}
    ]


async def test_a_body_that_does_not_say_it_is_json_is_refused_for_its_type(client: httpx.AsyncClient) -> None:
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}, {}):
        answer = await client.post("/things", content=b'{"a": 1}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        assert "application/json" in answer.json()["detail"]
    vendor = {"Content-Type": "application/vnd.sample+json; charset=utf-8"}
    assert (await client.post("/things", content=b'{"a": 1}', headers=vendor)).status_code == 200
    assert (await client.post("/things", content=b"[1]", headers=vendor)).status_code == 422
    assert (await client.post("/things")).status_code == 422, "no body at all"


async def test_a_body_over_the_limit_is_refused_announced_or_not(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 10

    announced = await client.post("/things", content=b" " * 101)
    streamed = await client.post("/things", content=chunks())
    assert [answer.status_code for answer in (announced, streamed)] == [413, 413]
    assert streamed.json()["code"] == "body_too_large"


async def test_a_good_request_id_is_kept_and_a_bad_one_replaced(client: httpx.AsyncClient) -> None:
    kept = await client.get("/things/7", headers={"X-Request-ID": "abcdefgh-1"})
    assert kept.headers["x-request-id"] == "abcdefgh-1"
    replaced = await client.get("/things/7", headers={"X-Request-ID": "a b\tc"})
    assert replaced.headers["x-request-id"] != "a b\tc"


async def test_a_caller_needs_a_token_and_the_permission(client: httpx.AsyncClient) -> None:
    anonymous = await client.get("/things")
    assert (anonymous.status_code, anonymous.headers["www-authenticate"]) == (401, "Bearer")
    bad = await client.get("/things", headers={"Authorization": "Bearer nonsense"})
    assert (bad.status_code, bad.json()["code"]) == (401, "invalid_token")
    powerless = await client.get("/things", headers=_bearer("other:read"))
    assert (powerless.status_code, powerless.json()["permission"]) == (403, "things:read")
    good = await client.get("/things", headers=_bearer("things:read"))
    assert good.json()["items"][0] == str(ORGANISATION)


async def test_internal_routes_take_service_tokens_only(client: httpx.AsyncClient) -> None:
    service = {"Authorization": f"Bearer {MINT.service_token('mailer', 'sample')}"}
    assert (await client.get("/internal/things", headers=service)).json() == "mailer"
    assert (await client.get("/internal/things", headers=_bearer("things:read"))).status_code == 401
    other = {"Authorization": f"Bearer {MINT.service_token('mailer', 'auth')}"}
    assert (await client.get("/internal/things", headers=other)).status_code == 401


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x"])
async def test_page_limits_are_checked(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/things?{query}", headers=_bearer("things:read"))).status_code == 422


@pytest.mark.parametrize("cursor", ["x", "%00", "bnVsbA", "eyJhIjoxfQ", "é"])
async def test_a_made_up_cursor_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    answer = await client.get("/things", params={"cursor": cursor}, headers=_bearer("things:read"))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_a_cursor_brings_its_key_back() -> None:
    id_ = new_id()
    assert decode_cursor(encode_cursor("a", 7, id_)) == ["a", 7, str(id_)]


async def test_readiness_names_what_is_away_but_not_where() -> None:
    async def fine() -> None:
        return None

    app = application(database=_broken, redis=fine)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sample") as http:
        answer = await http.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["checks"] == {"database": "ConnectionError", "redis": "ok"}
        assert (await http.get("/health/live")).status_code == 200


async def test_a_service_stays_ready_without_what_it_can_do_without() -> None:
    app = create_app(
        AppParts(service="sample", title="Sample", description="", routers=(), side_checks={"rabbitmq": _broken})
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sample") as http:
        answer = await http.get("/health/ready")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["checks"]) == ("degraded", {"rabbitmq": "ConnectionError"})


async def test_a_service_that_is_shutting_down_is_not_ready() -> None:
    app = application()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sample") as http:
        assert (await http.get("/health/ready")).status_code == 200
        app.state.draining = True
        assert (await http.get("/health/ready")).status_code == 503


async def test_the_document_describes_problems(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    invalid = document["paths"]["/things"]["get"]["responses"]["422"]["content"]
    assert invalid == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    posting = document["paths"]["/things"]["post"]["responses"]
    assert {"415", "422"} <= set(posting)
    assert "415" not in document["paths"]["/things"]["get"]["responses"]
    assert "FieldProblem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
