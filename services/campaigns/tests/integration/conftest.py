"""What the tests of imports have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from posthorn_campaigns.bootstrap import Container

from .import_support import Json, Upload


@pytest.fixture
async def list_id(client: httpx.AsyncClient, headers: Any) -> str:
    answer = await client.post("/v1/lists", json={"name": "Readers"}, headers=headers)
    return str(answer.json()["id"])


@pytest.fixture
def upload(client: httpx.AsyncClient, headers: Any) -> Upload:
    """Upload a file; returns the import as it was accepted."""

    async def call(content: Any, content_type: str = "text/csv", **params: str) -> Json:
        answer = await client.post(
            "/v1/imports", content=content, params=params, headers={**headers, "Content-Type": content_type}
        )
        assert answer.status_code == 202, answer.text
        document: Json = answer.json()
        return document

    return call


@pytest.fixture
def finish(client: httpx.AsyncClient, container: Container, headers: Any) -> Callable[[Json], Awaitable[Json]]:
    """Have a worker take an import in; returns the import as it ended."""

    async def call(job: Json) -> Json:
        await container.importing.work_on(UUID(job["id"]), stop=asyncio.Event())
        document: Json = (await client.get(f"/v1/imports/{job['id']}", headers=headers)).json()
        return document

    return call
