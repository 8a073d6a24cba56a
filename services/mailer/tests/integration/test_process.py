"""Workers as real processes, stopped and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from posthorn_local.ports import free_ports
from posthorn_mailer.domain.deliveries import Resolution
from posthorn_mailer.settings import Settings

from .smtp_peer import Peer
from .support import Office, eventually, members

pytestmark = pytest.mark.integration
RECIPIENTS = 400
CONNECTIONS = 4


def environment(settings: Settings) -> dict[str, str]:
    values = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings.model_dump(warnings=False).items()
        if value is not None
    }
    return {**os.environ, **{f"POSTHORN_MAILER_{name.upper()}": str(value) for name, value in values.items()}}


@asynccontextmanager
async def a_worker(settings: Settings) -> AsyncGenerator[asyncio.subprocess.Process]:
    """A process that works and reconciles."""
    program = Path(sys.executable).with_name("posthorn-mailer")
    port = str(free_ports(1)[0])
    process = await asyncio.create_subprocess_exec(
        program,
        *("run", "--roles", "worker,scheduler", "--port", port),
        env=environment(settings),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def received(smtp_server: Any) -> Counter[str]:
    return Counter(to for message in smtp_server.messages for to in message.envelope_to)


async def test_a_killed_process_leaves_at_most_its_connections_in_doubt(
    office: Office, smtp_server: Any, quick: Settings
) -> None:
    campaign_id = await office.plan(members(RECIPIENTS), port=smtp_server.port)
    async with a_worker(quick) as victim:
        await eventually(lambda: len(smtp_server.messages) > RECIPIENTS * 0.2)
        victim.kill()
        await victim.wait()
    async with a_worker(quick):
        await eventually(lambda: _drained(office, campaign_id))
    counts = await office.counts(campaign_id)
    assert counts == await office.told(campaign_id)
    assert sum(counts.values()) == RECIPIENTS
    assert counts["sent"] + counts.get("ambiguous", 0) == RECIPIENTS
    assert counts.get("ambiguous", 0) <= CONNECTIONS
    arrived = received(smtp_server)
    assert max(arrived.values()) == 1
    assert len(arrived) >= counts["sent"]


async def test_a_process_that_is_told_to_stop_leaves_nobody_in_doubt(
    office: Office, smtp_server: Any, quick: Settings
) -> None:
    campaign_id = await office.plan(members(RECIPIENTS), port=smtp_server.port)
    async with a_worker(quick) as stopped:
        await eventually(lambda: len(smtp_server.messages) > RECIPIENTS * 0.2)
        stopped.send_signal(signal.SIGTERM)
        assert await stopped.wait() == 0
    counts = await office.counts(campaign_id)
    assert counts == {"sent": len(smtp_server.messages), "pending": RECIPIENTS - len(smtp_server.messages)}
    async with a_worker(quick):
        await eventually(lambda: _drained(office, campaign_id))
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": RECIPIENTS}
    assert max(received(smtp_server).values()) == 1


class _Thoughtful(Peer):
    """A relay that lets the first few messages wait before it asks for their content."""

    def __init__(self) -> None:
        super().__init__()
        self.thinking = 0
        self.decided = asyncio.Event()

    async def _answer(self, step: str, default: str, writer: asyncio.StreamWriter) -> bool:
        if step == "DATA" and self.thinking < CONNECTIONS:
            self.thinking += 1
            await self.decided.wait()
        return await super()._answer(step, default, writer)


async def test_a_process_that_was_frozen_in_the_middle_of_messages_does_not_finish_what_others_have_sent_meanwhile(
    office: Office, quick: Settings
) -> None:
    audience = members(CONNECTIONS)
    async with _Thoughtful().listening() as relay:
        campaign_id = await office.plan(audience, port=relay.port)
        async with a_worker(quick) as frozen:
            await eventually(lambda: relay.thinking == CONNECTIONS)
            frozen.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(quick.lease_seconds)
                await office.expire_leases()
                await office.send_all()
                assert await office.counts(campaign_id) == {"ambiguous": CONNECTIONS}
                for member in audience:
                    await office.container.resolving.resolve(
                        office.organisation_id, campaign_id, member.contact_id, Resolution.RESEND
                    )
                await office.send_all()
                assert await office.counts(campaign_id) == {"sent": CONNECTIONS}
                relay.decided.set()
            finally:
                frozen.send_signal(signal.SIGCONT)
            frozen.send_signal(signal.SIGTERM)
            assert await frozen.wait() == 0
        assert len(relay.contents) == CONNECTIONS
        assert await office.counts(campaign_id) == {"sent": CONNECTIONS}


async def _drained(office: Office, campaign_id: Any) -> bool:
    return await office.phase(campaign_id) == "drained"
