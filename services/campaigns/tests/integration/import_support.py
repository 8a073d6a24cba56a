"""What the tests of imports look at again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container

Json = dict[str, Any]
Upload = Callable[..., Awaitable[Json]]


def counts_of(job: Json) -> dict[str, int]:
    return {name: job[name] for name in ("rows_read", "created", "updated", "unchanged", "rejected")}


async def contacts_of(client: httpx.AsyncClient, headers: Any, **params: str) -> dict[str, Json]:
    answer = await client.get("/v1/contacts", params={"limit": "500", **params}, headers=headers)
    return {contact["email"]: contact for contact in answer.json()["items"]}


async def stored_pieces(container: Container, organisation_id: UUID) -> int:
    async with container.engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM import_pieces WHERE organisation_id = :id")
        return int((await connection.execute(query, {"id": organisation_id})).scalar_one())
