"""What people change is told to the audit log, in the transaction that changes it."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends

from posthorn_common.auditing import Action, audited, concerns
from posthorn_common.clock import new_id
from posthorn_common.http.app import AppParts, create_app
from posthorn_common.http.identity import requires
from posthorn_common.testing import TokenMint
from posthorn_common.tokens import Principal
from posthorn_common.unit_of_work import SqlTransaction
from posthorn_contracts.audit.v1 import ActorKind

pytestmark = pytest.mark.integration

MINT = TokenMint()
ORGANISATION = new_id()
HEADERS = {
    "Authorization": f"Bearer {MINT.access_token(ORGANISATION, frozenset({'things:write'}))}",
    "X-Forwarded-For": "192.0.2.7",
}
Writer = Annotated[Principal, Depends(requires("things:write"))]
NEW = new_id()


async def write(engine: Any, note: str, *, fails: bool = False) -> None:
    async with SqlTransaction(engine) as transaction:
        await transaction.connection.execute(sa.text("INSERT INTO effects (note) VALUES (:note)"), {"note": note})
        if fails:
            raise RuntimeError(note)


async def read(engine: Any) -> None:
    async with SqlTransaction(engine) as transaction:
        await transaction.connection.execute(sa.text("SELECT * FROM effects"))


def an_app(engine: Any) -> Any:
    router = APIRouter()

    @router.post("/v1/things", operation_id="create_thing", status_code=201)
    async def create_thing(caller: Writer) -> None:
        await read(engine)
        concerns("thing", NEW)
        await write(engine, "first")
        await write(engine, "second")

    @router.patch("/v1/things/{thing_id}/parts/{part_id}", operation_id="change_part")
    async def change_part(thing_id: UUID, part_id: UUID, caller: Writer) -> None:
        await write(engine, str(part_id))

    @router.post("/v1/previews", operation_id="preview")
    async def preview(caller: Writer) -> None:
        await read(engine)

    @router.get("/v1/things", operation_id="list_things")
    async def list_things(caller: Writer) -> None:
        await write(engine, "last seen")

    @router.post("/v1/failures", operation_id="fail")
    async def fail(caller: Writer) -> None:
        with pytest.raises(RuntimeError):
            await write(engine, "rolled back", fails=True)

    @router.post("/v1/retries", operation_id="try_again")
    async def try_again(caller: Writer) -> None:
        with pytest.raises(RuntimeError):
            await write(engine, "rolled back", fails=True)
        await write(engine, "the second time")

    return create_app(
        AppParts(
            service="things",
            title="Things",
            description="For tests.",
            routers=(router,),
            identity=MINT.identity("things"),
        )
    )


@pytest.fixture
async def client(engine: Any) -> Any:
    transport = httpx.ASGITransport(an_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://things", headers=HEADERS) as http:
        yield http


async def told(engine: Any) -> list[dict[str, Any]]:
    async with engine.connect() as connection:
        rows = await connection.execute(sa.text("SELECT body FROM outbox ORDER BY id"))
        return [json.loads(body)["data"] for (body,) in rows]


async def test_who_did_what_from_where_is_told_once_however_many_transactions_it_takes(
    client: httpx.AsyncClient, engine: Any
) -> None:
    answer = await client.post("/v1/things", headers={"X-Request-ID": "a-request-of-a-person"})
    assert answer.status_code == 201
    (data,) = await told(engine)
    assert UUID(data.pop("actor_id"))
    assert data == {
        "service": "things",
        "action": "create_thing",
        "outcome": "done",
        "actor_kind": "user",
        "resource_kind": "thing",
        "resource_id": str(NEW),
        "address": "192.0.2.7",
        "request_id": "a-request-of-a-person",
    }


async def test_the_last_id_of_the_path_names_the_resource(client: httpx.AsyncClient, engine: Any) -> None:
    part = new_id()
    assert (await client.patch(f"/v1/things/{new_id()}/parts/{part}")).status_code == 200
    (data,) = await told(engine)
    assert (data["resource_kind"], data["resource_id"]) == ("part", str(part))


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/previews"), ("GET", "/v1/things"), ("POST", "/v1/failures")]
)
async def test_nothing_is_told_of_what_only_reads_or_was_rolled_back(
    client: httpx.AsyncClient, engine: Any, method: str, path: str
) -> None:
    assert (await client.request(method, path)).status_code == 200
    assert await told(engine) == []


async def test_what_works_at_the_second_try_is_told(client: httpx.AsyncClient, engine: Any) -> None:
    assert (await client.post("/v1/retries")).status_code == 200
    assert [data["action"] for data in await told(engine)] == ["try_again"]


async def test_requests_at_once_are_told_apart_and_leave_nothing_behind(client: httpx.AsyncClient, engine: Any) -> None:
    parts = [new_id() for _ in range(20)]
    await asyncio.gather(*(client.patch(f"/v1/things/{new_id()}/parts/{part}") for part in parts))
    assert {data["resource_id"] for data in await told(engine)} == {str(part) for part in parts}
    await write(engine, "of nobody")
    assert len(await told(engine)) == 20


async def test_a_commit_that_fails_tells_nothing_and_the_next_one_does(engine: Any) -> None:
    action = Action("things", "merge", ORGANISATION, ActorKind.SYSTEM, None)
    with audited(action):
        with pytest.raises(sa.exc.IntegrityError):
            await _refused_at_commit(engine)
        assert await told(engine) == []
        await write(engine, "done")
    assert [(data["action"], data["actor_kind"], data["actor_id"]) for data in await told(engine)] == [
        ("merge", "system", None)
    ]


async def _refused_at_commit(engine: Any) -> None:
    reference = "of int REFERENCES effects DEFERRABLE INITIALLY DEFERRED"
    async with SqlTransaction(engine) as transaction:
        await transaction.connection.execute(sa.text(f"CREATE TABLE late (id int PRIMARY KEY, {reference})"))
        await transaction.connection.execute(sa.text("INSERT INTO late VALUES (1, 99)"))
