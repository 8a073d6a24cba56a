"""The mailer's neighbours, cheaply: campaigns' internal API, and those who listen to what the mailer tells.

Reading an audience and counting outcomes are not measured here, so both cost as little as they can. They run in the
benchmark's own process; the events go through real quorum queues and are acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import orjson
import uvicorn
from aio_pika.abc import AbstractIncomingMessage

from benchmarks.send import letter
from posthorn_common.messaging.connection import connected
from posthorn_common.messaging.topology import declare_dead_letters, declare_events, declare_subscription
from posthorn_common.tokens import InvalidToken, ServiceTokens
from posthorn_contracts.mailer.v1 import DeliveriesRecorded
from posthorn_local.ports import LOOPBACK

_LISTENERS = ("campaigns", "analytics")
_PREFETCH = 20


class Campaigns:
    """`GET /internal/campaigns/{id}/content` and `…/audience`, for callers with a service token."""

    def __init__(self, tokens: ServiceTokens, organisation_id: UUID) -> None:
        self._tokens = tokens
        self._organisation_id = organisation_id
        self._sizes: dict[UUID, int] = {}

    def add(self, campaign_id: UUID, recipients: int) -> None:
        """Have a campaign, with its audience's pages made beforehand."""
        self._sizes[campaign_id] = recipients
        for first in range(0, recipients, letter.PAGE):
            letter.audience_page(first, recipients, letter.PAGE)

    @contextlib.asynccontextmanager
    async def running(self, port: int) -> AsyncGenerator[None]:
        """Serve."""
        config = uvicorn.Config(self._app, host=LOOPBACK, port=port, log_config=None, lifespan="off", interface="asgi3")
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  the server tells in no other way
            await asyncio.sleep(0.02)
        try:
            yield
        finally:
            server.should_exit = True
            await serving

    async def _app(self, scope: Any, _receive: Any, send: Any) -> None:
        status, body = self._answer(scope)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, scope: Any) -> tuple[int, bytes]:
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
        try:
            self._tokens.verify(authorization.removeprefix("Bearer "))
        except InvalidToken:
            return 401, b"{}"
        *_, id_, what = scope["path"].split("/")
        campaign_id = UUID(id_)
        if campaign_id not in self._sizes:
            return 404, b"{}"
        if what == "content":
            return 200, letter.content(campaign_id, self._organisation_id).model_dump_json().encode()
        query = parse_qs(scope["query_string"].decode())
        first, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
        return 200, letter.audience_page(first, self._sizes[campaign_id], limit)


class Outcomes:
    """Counts the outcomes that each listener has been told, by campaign."""

    def __init__(self) -> None:
        self._told: dict[str, Counter[str]] = {name: Counter() for name in _LISTENERS}

    def complete(self, campaign_id: UUID, recipients: int) -> bool:
        """Whether everybody has been told about all recipients. Events may come twice, so it may be more."""
        return all(told[str(campaign_id)] >= recipients for told in self._told.values())

    @contextlib.asynccontextmanager
    async def listening(self, amqp_url: str) -> AsyncGenerator[None]:
        """Consume."""
        async with contextlib.AsyncExitStack() as stack:
            connection = await stack.enter_async_context(connected(amqp_url, name="bench.listeners"))
            for name in _LISTENERS:
                channel = await connection.channel()
                await channel.set_qos(prefetch_count=_PREFETCH)
                await declare_events(channel)
                await declare_dead_letters(channel, name)
                queue = await declare_subscription(channel, name, DeliveriesRecorded.event_type)
                await queue.consume(self._listener(name))
            yield

    def _listener(self, name: str) -> Any:
        told = self._told[name]

        async def on_message(message: AbstractIncomingMessage) -> None:
            data = orjson.loads(message.body)["data"]
            told[data["campaign_id"]] += len(data["records"])
            await message.ack()

        return on_message
