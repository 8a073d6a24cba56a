"""Whoever locks the same rows does so in the same order: no two requests wait for each other."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_auth.bootstrap import Container
from posthorn_auth.domain.mails import MailPurpose

pytestmark = pytest.mark.integration
GUARD_SECONDS = 60


async def _until_somebody_waits(container: Container) -> None:
    """Wait until a transaction of this database waits for a lock."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(GUARD_SECONDS), container.engine.connect() as connection:
        while not await connection.scalar(waiting):
            await connection.rollback()
            await asyncio.sleep(0.02)


async def _invited(client: httpx.AsyncClient, owner: dict[str, Any]) -> dict[str, Any]:
    body = {"email": f"new-{uuid4()}@example.com", "role": "viewer"}
    invitation: dict[str, Any] = (await client.post("/v1/invitations", json=body, headers=owner["headers"])).json()
    return invitation


async def _lock(connection: AsyncConnection, table: str, id_: str) -> None:
    await connection.execute(sa.text(f"SELECT FROM {table} WHERE id = :id FOR UPDATE"), {"id": id_})


async def test_an_invitation_is_sent_again_while_somebody_accepts_it(
    client: httpx.AsyncClient, container: Container, register: Any, age_mails: Any
) -> None:
    owner = await register()
    invitation = await _invited(client, owner)
    await age_mails(timedelta(minutes=2))
    async with container.engine.begin() as accepting:
        await _lock(accepting, "invitations", invitation["id"])
        path = f"/v1/invitations/{invitation['id']}/resend"
        sending = asyncio.create_task(client.post(path, headers=owner["headers"]))
        await _until_somebody_waits(container)
        joins = sa.text(
            "INSERT INTO users SELECT (jsonb_populate_record(u, jsonb_build_object('id', gen_random_uuid(), "
            "'email', :email ::text))).* FROM users u WHERE id = :owner"
        )
        await accepting.execute(joins, {"email": invitation["email"], "owner": owner["user"]["id"]})
    assert (await sending).status_code == 200


async def test_an_invitation_is_accepted_while_somebody_revokes_it(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    invitation = await _invited(client, await register())
    body = {
        "token": await token_of(invitation["email"], MailPurpose.INVITATION),
        "name": "New",
        "password": "a long and private sentence",
    }
    async with container.engine.begin() as revoking:
        await _lock(revoking, "invitations", invitation["id"])
        accepting = asyncio.create_task(client.post("/v1/auth/invitations/accept", json=body))
        await _until_somebody_waits(container)
        voids = sa.text("UPDATE account_mails SET used_at = now() WHERE invitation_id = :id")
        await revoking.execute(voids, {"id": invitation["id"]})
    assert (await accepting).json()["code"] == "link_not_valid"


async def test_an_address_is_confirmed_while_its_user_asks_anew(
    client: httpx.AsyncClient, container: Container, register: Any, token_of: Any
) -> None:
    owner = await register()
    body = {"new_email": f"new-{uuid4()}@example.com", "current_password": "a long and private sentence"}
    assert (await client.post("/v1/auth/email", json=body, headers=owner["headers"])).status_code == 202
    token = await token_of(body["new_email"], MailPurpose.CHANGE_EMAIL)
    async with container.engine.begin() as asking:
        await _lock(asking, "users", owner["user"]["id"])
        confirming = asyncio.create_task(client.post("/v1/auth/email/confirm", json={"token": token}))
        await _until_somebody_waits(container)
        voids = sa.text("UPDATE account_mails SET used_at = now() WHERE user_id = :id AND purpose = 'change_email'")
        await asking.execute(voids, {"id": owner["user"]["id"]})
    assert (await confirming).json()["code"] == "link_not_valid"
