"""How opens and clicks are stored and counted, whoever else is counting."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from posthorn_analytics.adapters.db import tables
from posthorn_analytics.adapters.redis_spill import REJECTED, STREAM, RedisHitSpill
from posthorn_analytics.app.recording import BATCH_HITS
from posthorn_analytics.bootstrap import Container, bootstrap
from posthorn_analytics.domain.recipients import MOST_HITS, Hit, HitKind
from posthorn_common.clock import new_id

from .support import LINKS, NOON, Letter, handle, published, record

pytestmark = pytest.mark.integration


@pytest.fixture
async def letter(container: Container, organisation_id: UUID) -> Letter:
    """A campaign that has been started."""
    letter = Letter(organisation_id)
    await handle(container, letter.started())
    return letter


async def test_many_recipients_in_several_processes_are_counted_exactly(
    settings: Any, statistics: Any, letter: Letter, container: Container
) -> None:
    contacts = [new_id() for _ in range(300)]

    def hits(order: list[UUID]) -> list[Hit]:
        return [_hit(letter, contact, number % 2) for number, contact in enumerate(order)]

    async with bootstrap(settings) as second:
        await asyncio.gather(
            container.recording.record(hits(contacts)),
            second.recording.record(hits(contacts[::-1])),
            handle(container, letter.recorded(*(record(contact, "sent") for contact in contacts))),
            *(handle(second, letter.unsubscribed(contact)) for contact in contacts[:10]),
        )
    now = await statistics()
    assert (now["clicks"], now["unique_clicks"], now["sent"], now["unsubscribes"]) == (600, 300, 300, 10)
    [domain] = (await statistics("/domains"))["items"]
    assert (domain["sent"], domain["unique_clicks"], domain["unsubscribes"]) == (300, 300, 10)


def _hit(letter: Letter, contact_id: UUID, number: int = 0, **changes: Any) -> Hit:
    hit = Hit(
        id=new_id(),
        organisation_id=letter.organisation_id,
        campaign_id=letter.campaign_id,
        contact_id=contact_id,
        kind=HitKind.CLICK,
        at=NOON + timedelta(minutes=4),
        is_machine=False,
        link_number=number,
        url=LINKS[number],
    )
    return dataclasses.replace(hit, **changes)


async def test_a_hit_that_is_stored_twice_counts_once(container: Container, letter: Letter, statistics: Any) -> None:
    hit = _hit(letter, new_id())
    await container.recording.record([hit])
    await container.recording.record([hit, _hit(letter, new_id())])
    now = await statistics()
    assert (now["clicks"], now["unique_clicks"]) == (2, 2)
    assert len((await statistics("/engagements"))["items"]) == 2


@pytest.mark.parametrize("click_first", [True, False])
async def test_a_domain_has_its_readers_whichever_is_told_first(
    container: Container, letter: Letter, statistics: Any, click_first: bool
) -> None:
    contact = new_id()
    delivered = letter.recorded(record(contact, "sent", domain="example.net"))
    if click_first:
        await container.recording.record([_hit(letter, contact)])
        await handle(container, delivered)
    else:
        await handle(container, delivered)
        await container.recording.record([_hit(letter, contact)])
    [domain] = (await statistics("/domains"))["items"]
    assert (domain["domain"], domain["sent"], domain["unique_clicks"]) == ("example.net", 1, 1)


async def test_what_comes_too_soon_after_the_delivery_is_a_machines_where_that_is_wanted(
    settings: Any, letter: Letter, statistics: Any
) -> None:
    quick, slow = new_id(), new_id()
    async with bootstrap(settings.model_copy(update={"machine_window_seconds": 10.0})) as careful:
        await handle(careful, letter.recorded(record(quick, "sent"), record(slow, "sent")))
        delivered = NOON + timedelta(minutes=3)
        await careful.recording.record(
            [
                _hit(letter, quick, at=delivered + timedelta(seconds=9)),
                _hit(letter, slow, at=delivered + timedelta(seconds=10)),
            ]
        )
    now = await statistics()
    assert (now["machine_clicks"], now["clicks"]) == (1, 1)


async def test_many_hits_are_one_event_of_bounded_size(container: Container, letter: Letter) -> None:
    await container.recording.record([_hit(letter, new_id()) for _ in range(BATCH_HITS)])
    [event] = await published(container, letter)
    assert len(event.data.engagements) == BATCH_HITS == 500


async def test_one_recipient_fills_neither_the_table_nor_the_numbers(
    container: Container, letter: Letter, statistics: Any
) -> None:
    contact = new_id()
    flood = [_hit(letter, contact, is_machine=number % 2 == 0) for number in range(BATCH_HITS)]
    for _ in range(3):
        await container.recording.record([dataclasses.replace(hit, id=new_id()) for hit in flood])
    await container.recording.record([_hit(letter, contact), _hit(letter, new_id())])
    now = await statistics()
    assert now["clicks"] + now["machine_clicks"] == MOST_HITS + 1
    assert now["unique_clicks"] == 2
    async with container.engine.connect() as connection:
        query = sa.select(sa.func.count()).where(tables.engagements.c.contact_id == contact)
        assert await connection.scalar(query) == MOST_HITS


async def test_what_cannot_be_recorded_does_not_keep_other_hits_in_redis(
    container: Container, letter: Letter, statistics: Any
) -> None:
    spill = RedisHitSpill(container.redis, limit=1000)
    await container.redis.xadd(STREAM, {b"hit": b'{"a hit": "of another version"}'})
    await spill.put([_hit(letter, new_id()), _hit(letter, new_id(), link_number=2**40), _hit(letter, new_id())])
    assert await container.draining_spill.drain() == 2
    assert (await statistics())["clicks"] == 2
    assert await spill.take(10) == []
    rejected = await container.redis.xrange(REJECTED)
    assert len(rejected) == 2
    assert rejected[0][1] == {b"hit": b'{"a hit": "of another version"}'}


async def test_old_engagements_are_deleted_and_counts_stay(
    container: Container, letter: Letter, statistics: Any
) -> None:
    now = container.clock.now()
    ages = (500, 401, 399, 1)
    await container.recording.record([_hit(letter, new_id(), at=now - timedelta(days=age)) for age in ages])
    await container.erasing.purge_engagements()
    assert len((await statistics("/engagements"))["items"]) == 2
    assert (await statistics())["clicks"] == 4
