"""What the tests of single messages share: an organisation with a relay, and workers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID, uuid4

import httpx
import sqlalchemy as sa

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_mailer.adapters.db.tables import messages
from posthorn_mailer.bootstrap import Container
from posthorn_mailer.entrypoints.message_worker import run_message_reconciler, run_message_worker
from posthorn_mailer.settings import Settings

from .support import eventually


def quick(settings: Settings) -> Settings:
    """Return settings with short pauses."""
    changes = {"retry_base_seconds": 0.2, "poll_seconds": 0.2, "reconcile_seconds": 0.2}
    return settings.model_copy(update=changes)


class Office:
    """An organisation with a relay."""

    def __init__(self, container: Container, client: httpx.AsyncClient, mint: TokenMint) -> None:
        self.container = container
        self.client = client
        self.id = uuid4()
        self.service = {"Authorization": f"Bearer {mint.service_token('campaigns', 'mailer')}"}
        self.headers = {"Authorization": f"Bearer {mint.access_token(self.id, ROLE_PERMISSIONS[Role.OWNER])}"}

    async def add_relay(self, port: int, **changes: Any) -> dict[str, Any]:
        body = {"name": "Main", "host": "127.0.0.1", "port": port, "tls": "none", "from_email": "post@example.org"}
        answer = await self.client.post("/v1/relays", json={**body, **changes}, headers=self.headers)
        assert answer.status_code == 201, answer.text
        relay: dict[str, Any] = answer.json()
        return relay

    async def post(self, to: str = "ada@example.com", **changes: Any) -> httpx.Response:
        body = {
            "organisation_id": str(self.id),
            "idempotency_key": str(uuid4()),
            "purpose": "test_send",
            "to_email": to,
            "subject": "Hello",
            "text": "Dear Ada",
            **changes,
        }
        return await self.client.post("/internal/messages", json=body, headers=self.service)

    async def accept(self, to: str = "ada@example.com", **changes: Any) -> UUID:
        answer = await self.post(to, **changes)
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["message_id"])

    async def get(self, message_id: UUID) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/messages/{message_id}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        message: dict[str, Any] = answer.json()
        return message

    async def send(self, message_id: UUID) -> dict[str, Any]:
        await self.container.sending_messages.send(message_id)
        return await self.get(message_id)

    async def set(self, message_id: UUID, **values: Any) -> None:
        async with self.container.engine.begin() as connection:
            await connection.execute(sa.update(messages).where(messages.c.id == message_id).values(values))


@contextlib.asynccontextmanager
async def working(container: Container) -> AsyncGenerator[None]:
    stop = asyncio.Event()
    roles = [
        asyncio.create_task(run_message_worker(container, stop)),
        asyncio.create_task(run_message_reconciler(container, stop)),
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*roles)


def past(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


async def until(office: Office, message_id: UUID, status: str) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        message = await office.get(message_id)
        return message if message["status"] == status else None

    message: dict[str, Any] = await eventually(check)
    return message
