"""What the tests of tracking and streams need beside the service itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse

from posthorn_common.http.identity import internal_caller
from posthorn_common.runtime import http_role
from posthorn_local.ports import free_ports

from .support import Letter, eventually


@contextlib.asynccontextmanager
async def serving(app: FastAPI, port: int) -> AsyncGenerator[None]:
    """Serve the application by a real uvicorn until the block ends."""
    stop = asyncio.Event()
    task = asyncio.create_task(http_role(app, host="127.0.0.1", port=port).run(stop))
    try:
        await eventually(lambda: _listens(port))
        yield
    finally:
        stop.set()
        await task


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def serve() -> Callable[..., Any]:
    """A function: application and port → a context manager that serves it."""
    return serving


class CampaignsService:
    """The internal routes of the campaigns service that analytics calls."""

    def __init__(self, mint: Any) -> None:
        self.calls: list[UUID] = []
        self.tables: dict[UUID, dict[str, Any]] = {}
        self.summaries: dict[UUID, dict[str, Any]] = {}
        self.status = 200
        self.app = FastAPI()
        self.app.state.identity = mint.identity("campaigns")

        @self.app.get("/internal/campaigns/{campaign_id}/links", dependencies=[Depends(internal_caller)])
        async def links(campaign_id: UUID) -> JSONResponse:
            self.calls.append(campaign_id)
            if self.status != 200:
                return JSONResponse({"code": "broken"}, status_code=self.status)
            if campaign_id not in self.tables:
                return JSONResponse({"code": "campaign_not_found"}, status_code=404)
            return JSONResponse(self.tables[campaign_id])

        @self.app.get("/internal/campaigns/{campaign_id}", dependencies=[Depends(internal_caller)])
        async def summary(campaign_id: UUID) -> JSONResponse:
            if campaign_id not in self.summaries:
                return JSONResponse({"code": "campaign_not_found"}, status_code=404)
            return JSONResponse(self.summaries[campaign_id])

    def has_draft(self, organisation_id: UUID, campaign_id: UUID) -> None:
        self.summaries[campaign_id] = {
            "campaign_id": str(campaign_id),
            "organisation_id": str(organisation_id),
            "name": "March letter",
            "created_at": "2026-01-05T12:00:00Z",
        }

    def knows(self, organisation_id: UUID, campaign_id: UUID, links: dict[int, str]) -> None:
        self.tables[campaign_id] = {
            "campaign_id": str(campaign_id),
            "organisation_id": str(organisation_id),
            "name": "March letter",
            "links": [{"number": number, "url": url} for number, url in links.items()],
        }


@pytest_asyncio.fixture
async def campaigns_service(campaigns_port: int, mint: Any) -> AsyncGenerator[CampaignsService]:
    """The campaigns service, as far as analytics calls it, on its real port."""
    service = CampaignsService(mint)
    async with serving(service.app, campaigns_port):
        yield service


class Proxy:
    """A server behind a TCP connection that can be cut and mended."""

    def __init__(self, target_port: int, port: int) -> None:
        self.port = port
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._sinks: list[asyncio.StreamWriter] = []
        self._passes = asyncio.Event()
        self._passes.set()

    async def mend(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        for sink in self._sinks:  # a pipe that was cut before it began has closed nothing
            sink.close()
        self._sinks.clear()
        self._server = None

    def fall_silent(self) -> None:
        """Keep connections and take new ones, but pass nothing on any more."""
        self._passes.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._sinks += [writer, target_writer]
        for source, sink in ((reader, target_writer), (target_reader, writer)):
            pipe = asyncio.create_task(self._pipe(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                await self._passes.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            sink.close()


@pytest_asyncio.fixture
async def proxy_to() -> AsyncGenerator[Callable[[int], Awaitable[Proxy]]]:
    """A function: port of a server → a proxy in front of it."""
    proxies: list[Proxy] = []

    async def start(target_port: int) -> Proxy:
        proxy = Proxy(target_port, free_ports(1)[0])
        proxies.append(proxy)
        await proxy.mend()
        return proxy

    yield start
    for proxy in proxies:
        await proxy.cut()


@pytest.fixture
def statistics(client: httpx.AsyncClient, letter: Letter, reader: dict[str, str]) -> Callable[..., Any]:
    """A function: reads the statistics, or a resource below them, of the module's `letter`."""

    async def read(resource: str = "", **params: Any) -> Any:
        path = f"/v1/campaigns/{letter.campaign_id}/statistics{resource}"
        answer = await client.get(path, headers=reader, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return read
