"""The whole product, started once for all end-to-end tests, in a folder of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from posthorn_local.client import ApiClient, Json
from posthorn_local.plan import ExternalServers
from posthorn_local.stack import Stack
from posthorn_local.testing import product


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """A running stack; stopped and wiped at the end."""
    running = Stack(tmp_path_factory.mktemp("stack"), external=ExternalServers.from_environment())
    try:
        running.up()
        yield running
    finally:
        running.reset()


@pytest_asyncio.fixture
async def anonymous(stack: Stack) -> AsyncGenerator[ApiClient]:
    """A caller who has not signed in."""
    async with ApiClient(stack.plan.urls["gateway"]) as client:
        yield client


NewOwner = Callable[[], Awaitable[ApiClient]]


@pytest_asyncio.fixture
async def new_owner(stack: Stack) -> AsyncGenerator[NewOwner]:
    """Register a new organisation; returns its owner, signed in."""
    clients: list[ApiClient] = []

    async def register() -> ApiClient:
        client = ApiClient(stack.plan.urls["gateway"])
        clients.append(client)
        await product.register_owner(client)
        return client

    yield register
    for client in clients:
        await client.__aexit__()


@pytest_asyncio.fixture
async def owner(new_owner: NewOwner) -> ApiClient:
    """The owner of a new organisation."""
    return await new_owner()


@dataclass(frozen=True)
class Mailbox:
    """What the mail catcher has taken."""

    http: httpx.AsyncClient

    async def accepted(self) -> int:
        """Return the number of messages taken so far."""
        return int((await self.http.get("/api/stats")).raise_for_status().json()["accepted"])

    async def messages(self, subject: str) -> list[Json]:
        """Return the envelopes of all messages whose subject contains `subject`."""
        found: list[Json] = []
        query: dict[str, Any] = {"subject": subject, "limit": 500}
        while True:
            page = (await self.http.get("/api/messages", params=query)).raise_for_status().json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def message(self, id_: int) -> Json:
        """Return one message with its headers and bodies."""
        document: Json = (await self.http.get(f"/api/messages/{id_}")).raise_for_status().json()
        return document


@pytest_asyncio.fixture
async def mailbox(stack: Stack) -> AsyncGenerator[Mailbox]:
    """The mail catcher, emptied."""
    async with httpx.AsyncClient(base_url=stack.plan.urls["mailcatcher"], timeout=60, trust_env=False) as http:
        (await http.delete("/api/messages")).raise_for_status()
        yield Mailbox(http)


NewCampaign = Callable[..., Awaitable[Json]]


@pytest.fixture
def new_campaign(stack: Stack) -> NewCampaign:
    """Prepare a draft campaign to `addresses`, with relay, list, imported contacts and template."""

    async def prepare(api: ApiClient, addresses: list[str], *, subject: str, port: int | None = None) -> Json:
        smtp_port = port or int(stack.plan.urls["smtp"].rpartition(":")[2])
        relay = await product.add_relay(api, smtp_port)
        audience = await product.add_audience(api, subject, addresses)
        template = await product.add_template(api, subject)
        return await product.add_campaign(
            api, subject, template_id=template["id"], list_id=audience["id"], relay_id=relay["id"]
        )

    return prepare


Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
def eventually() -> Eventually:
    """See posthorn_local.testing.product.eventually."""
    return product.eventually
