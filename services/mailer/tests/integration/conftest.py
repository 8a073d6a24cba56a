"""Fixtures of the tests of sending."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from posthorn_common.testing import TokenMint
from posthorn_mailer.bootstrap import Container, bootstrap
from posthorn_mailer.settings import Settings

from .support import CampaignsService, Office

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Try the SMTP client on both loops: uvloop is what it runs on, asyncio's own is what others test with."""
    loops: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    return loops | {"uvloop": uvloop.new_event_loop} if "test_smtp_" in item.nodeid else loops


@pytest_asyncio.fixture
async def campaigns(mint: TokenMint) -> AsyncGenerator[CampaignsService]:
    service = CampaignsService(mint.identity("campaigns"))
    async with service.running():
        yield service


@pytest.fixture
def quick(settings: Settings, campaigns: CampaignsService) -> Settings:
    """Settings with short pauses."""
    return settings.model_copy(
        update={
            "campaigns_url": f"http://127.0.0.1:{campaigns.port}",
            "batch_size": 10,
            "audience_page_size": 25,
            "lease_seconds": 2.0,
            "poll_seconds": 0.2,
            "reconcile_seconds": 0.2,
            "report_seconds": 0.1,
            "retry_base_seconds": 0.05,
            "outage_first_pause_seconds": 0.05,
            "outage_longest_pause_seconds": 0.2,
        }
    )


NewContainer = Callable[..., AbstractAsyncContextManager[Container]]


@pytest.fixture
def new_container(quick: Settings, mint: TokenMint) -> NewContainer:
    """Open the service as another process would, with changed settings."""

    @contextlib.asynccontextmanager
    async def open_(**changes: Any) -> AsyncGenerator[Container]:
        async with bootstrap(quick.model_copy(update=changes)) as opened:
            yield replace(opened, identity=mint.identity("mailer"))

    return open_


@pytest_asyncio.fixture
async def office(new_container: NewContainer, campaigns: CampaignsService) -> AsyncGenerator[Office]:
    """An organisation on an empty database."""
    async with new_container() as container:
        opened = Office(container, campaigns)
        await opened.clear()
        yield opened
        await opened.check_counts()
        await opened.close()
