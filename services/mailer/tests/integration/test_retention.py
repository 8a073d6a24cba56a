"""Closed sends shrink to their final state; readers see the same before, meanwhile and afterwards."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from posthorn_common import migrations
from posthorn_contracts.mailer.v1 import SendDrained
from posthorn_mailer.adapters.db.retention import SqlRetention
from posthorn_mailer.adapters.db.tables import closed_deliveries, deliveries, sends
from posthorn_mailer.app.resolving import DeliveryQuery
from posthorn_mailer.app.retaining import RetainingDeliveries, RetentionPolicy
from posthorn_mailer.bootstrap import MIGRATIONS
from posthorn_mailer.domain.deliveries import DeliveryState, Resolution
from posthorn_mailer.domain.errors import DeliveryNotFound, SendClosed
from posthorn_mailer.domain.sends import SendStatus

from .support import Office, members

pytestmark = pytest.mark.integration
DAY = 86_400.0
_BEFORE = "0005"  # the revision before closed deliveries came
COUNT = 40  # in batches of ten


@pytest.fixture
def retention(office: Office) -> SqlRetention:
    return SqlRetention(office.container.engine)


async def _drained(office: Office, smtp_server: Any, *, days_ago: float = 0, domain: str = "example.com") -> UUID:
    """Return a campaign that was drained so long ago; two of its recipients bounced, one failed."""
    first = domain == "example.com"
    smtp_server.reply_to(f"reader.1@{domain}", "550 5.1.1 no such user")
    smtp_server.reply_to(f"reader.31@{domain}", "550 5.1.1 no such user")
    smtp_server.reply_to(f"reader.12@{domain}", "554 5.7.1 not wanted")
    campaign_id = await office.plan(members(COUNT, domain=domain), port=smtp_server.port, relay={"is_default": first})
    await office.send_all()
    assert await office.phase(campaign_id) == "drained"
    await office.execute(
        "UPDATE sends SET drained_at = now() - make_interval(secs => :s) WHERE id = :id",
        s=days_ago * DAY,
        id=campaign_id,
    )
    return campaign_id


async def _seen(office: Office, campaign_id: UUID) -> dict[str, Any]:
    """What the API shows of a campaign, but for what is said of those that arrived."""
    resolving, organisation_id = office.container.resolving, office.organisation_id

    async def found(**query: Any) -> list[Any]:
        wanted = DeliveryQuery(**{"state": None, "search": None, "after": None, "limit": 100, **query})
        page = await resolving.list_deliveries(organisation_id, campaign_id, wanted)
        return [{**asdict(one), "reply": one.reply if one.state is not DeliveryState.SENT else None} for one in page]

    everything = await found()
    single = await resolving.get_delivery(organisation_id, campaign_id, everything[12]["contact_id"])
    return {
        "all": everything,
        "single": single,
        "bounced": await found(state=DeliveryState.BOUNCED),
        "part": await found(search="READER.3"),
        "after": await found(after=18, limit=5),
        "after_in_state": await found(after=12, state=DeliveryState.SENT, limit=30),
        "counts": await office.counts(campaign_id),
    }


async def test_what_people_see_stays_the_same_while_a_send_moves_and_when_it_has_moved(
    office: Office, smtp_server: Any, retention: SqlRetention
) -> None:
    campaign_id = await _drained(office, smtp_server, days_ago=40)
    other_id = await _drained(office, smtp_server, days_ago=20, domain="example.org")
    before, others = await _seen(office, campaign_id), await _seen(office, other_id)
    assert sum(before["counts"].values()) == COUNT
    assert len(before["bounced"]) >= 2
    assert await retention.close_next(31 * DAY) == campaign_id
    assert await retention.close_next(31 * DAY) is None, "the other one has not been final for long"
    moved = []
    while (step := await retention.move_next(15)) is not None:
        moved.append(step)
        assert await _seen(office, campaign_id) == before
    assert moved == [10, 15, 15, 0], "whole batches of ten or five, and a last look"
    assert await office.rows(deliveries, campaign_id) == []
    assert len(await office.rows(closed_deliveries, campaign_id)) == COUNT
    assert await _seen(office, other_id) == others
    assert len(await office.rows(deliveries, other_id)) == COUNT
    await office.check_counts()
    (row,) = await office.rows(sends, campaign_id)
    assert row.content is None


async def test_a_step_of_moving_that_broke_is_repeated(
    office: Office, smtp_server: Any, retention: SqlRetention, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = await _drained(office, smtp_server, days_ago=40)
    before = await _seen(office, campaign_id)
    await retention.close_next(31 * DAY)
    await retention.move_next(10)
    with monkeypatch.context() as broken:
        broken.setattr("posthorn_mailer.adapters.db.retention._MOVED", sa.text("SELECT 1 / 0 FROM sends"))
        with pytest.raises(sa.exc.DBAPIError):
            await retention.move_next(10)
    assert await _seen(office, campaign_id) == before
    assert len(await office.rows(deliveries, campaign_id)) == 30
    await RetainingDeliveries(retention, RetentionPolicy(31, None)).retain()
    assert await _seen(office, campaign_id) == before
    assert await office.rows(deliveries, campaign_id) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sends SET drained_at = NULL",
        "UPDATE sends SET drained_at = now()",
        "UPDATE batches SET state = 'ready' WHERE number = 1",
        "UPDATE batches SET unreported = true WHERE number = 1",
    ],
)
async def test_a_send_with_something_left_to_do_is_not_closed(
    office: Office, smtp_server: Any, retention: SqlRetention, change: str
) -> None:
    await _drained(office, smtp_server, days_ago=40)
    await office.execute(change)
    assert await retention.close_next(31 * DAY) is None


async def test_nothing_of_a_closed_send_is_sent_again(
    office: Office, smtp_server: Any, retention: SqlRetention
) -> None:
    campaign_id = await _drained(office, smtp_server, days_ago=40)
    await office.execute("UPDATE deliveries SET state = 'ambiguous' WHERE number = 5")
    await office.execute("UPDATE batches SET counts = NULL")
    (row,) = [row for row in await office.rows(deliveries, campaign_id) if row.number == 5]
    before = await office.counts(campaign_id)
    await retention.close_next(31 * DAY)
    arrived = len(smtp_server.messages)
    for _ in range(2):
        with pytest.raises(SendClosed):
            await office.container.resolving.resolve(
                office.organisation_id, campaign_id, row.contact_id, Resolution.RESEND
            )
        await office.container.controlling.retry_failed(office.order(campaign_id))
        await office.send_all()
        assert len(smtp_server.messages) == arrived
        assert await office.counts(campaign_id) == before
        await RetainingDeliveries(retention, RetentionPolicy(31, None)).retain()
    ends = [event.data for event in await office.events(SendDrained)]
    assert len(ends) == 3, "whoever asks for a retry too late is told the end again"
    assert ends[-1].sent == before["sent"]


async def test_whoever_is_erased_is_erased_from_closed_sends(
    office: Office, smtp_server: Any, retention: SqlRetention
) -> None:
    campaign_id = await _drained(office, smtp_server, days_ago=40)
    rows = await office.rows(deliveries, campaign_id)
    await retention.close_next(31 * DAY)
    await retention.move_next(10)
    for row in (rows[1], rows[12]):  # one moved already, one not
        await office.erase(row.contact_id)
    await RetainingDeliveries(retention, RetentionPolicy(31, None)).retain()
    closed = {row.number: row for row in await office.rows(closed_deliveries, campaign_id)}
    assert [(closed[row.number].email, closed[row.number].reply) for row in (rows[1], rows[12])] == [("", None)] * 2
    assert closed[32].email == "reader.31@example.com"
    assert closed[32].reply == "5.1.1 no such user"


async def test_whoever_is_erased_is_suppressed_by_addresses_that_only_closed_sends_know(
    office: Office, smtp_server: Any, retention: SqlRetention
) -> None:
    campaign_id = await _drained(office, smtp_server, days_ago=40)
    bounced = (await office.rows(deliveries, campaign_id))[1]
    await RetainingDeliveries(retention, RetentionPolicy(31, None)).retain()
    await office.execute("UPDATE suppressions SET contact_id = NULL")
    async with office.container.engine.connect() as connection:
        before = (await connection.execute(sa.text("SELECT email FROM suppressions"))).scalars().all()
    assert bounced.email in before
    await office.erase(bounced.contact_id)
    async with office.container.engine.connect() as connection:
        after = (await connection.execute(sa.text("SELECT email FROM suppressions"))).scalars().all()
    assert bounced.email not in after


async def test_old_months_are_dropped_and_their_counts_stay(
    office: Office, smtp_server: Any, retention: SqlRetention
) -> None:
    old_id = await _drained(office, smtp_server, days_ago=500)
    young_id = await _drained(office, smtp_server, days_ago=40, domain="example.org")
    before, young = await _seen(office, old_id), await _seen(office, young_id)
    await retention.close_next(31 * DAY)
    assert await retention.drop_months(400 * DAY) == [], "its send is not compacted yet"
    retaining = RetainingDeliveries(retention, RetentionPolicy(31, 400))
    await retaining.retain()
    await retaining.retain()
    assert await office.rows(closed_deliveries, old_id) == []
    assert await office.counts(old_id) == before["counts"]
    partitions = await _partitions(office)
    assert _partition(await office.rows(sends, young_id)) in partitions
    assert _partition(await office.rows(sends, old_id)) not in partitions
    with pytest.raises(DeliveryNotFound):
        await office.container.resolving.get_delivery(office.organisation_id, old_id, before["all"][0]["contact_id"])
    assert await _seen(office, young_id) == young
    assert await office.phase(old_id) == "drained"
    office.forget(old_id)


async def test_cancelled_and_empty_sends_are_closed_too(office: Office, retention: SqlRetention) -> None:
    empty_id = await office.plan([], port=1)
    cancelled_id = office.add_campaign(members(25))
    await office.start(cancelled_id)
    await office.container.planning.plan_send(cancelled_id)
    await office.container.controlling.cancel(office.order(cancelled_id))
    await office.container.controlling.sweep(cancelled_id)
    await office.execute("UPDATE sends SET drained_at = now() - interval '500 days'")
    retaining = RetainingDeliveries(retention, RetentionPolicy(31, 400))
    await retaining.retain()
    assert await office.counts(cancelled_id) == {"cancelled": 25}
    assert await office.counts(empty_id) == {}
    (row,) = await office.rows(sends, cancelled_id)
    assert (row.status, row.final_counts) == (SendStatus.CANCELLED, {"cancelled": 25})
    assert _partition([row]) not in await _partitions(office)
    for dropped in (empty_id, cancelled_id):
        office.forget(dropped)


async def _partitions(office: Office) -> list[str]:
    async with office.container.engine.connect() as connection:
        query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'closed_deliveries'::regclass"
        return list(await connection.scalars(sa.text(query + " ORDER BY 1")))


def _partition(rows: list[Any]) -> str:
    return str(rows[0].closed_month.strftime("closed_deliveries_%Y_%m"))


async def test_the_migration_goes_down_and_up_with_data(make_database: Any) -> None:
    url = make_database("mailer")
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.downgrade(url, MIGRATIONS, _BEFORE)
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(
                sa.text("""
                    INSERT INTO sends (id, organisation_id, status, on_ambiguous, planned_at, drained_at)
                    VALUES (gen_random_uuid(), gen_random_uuid(), 'sending', 'hold', now(), now() - interval '1 year')
                """)
            )
            await connection.execute(
                sa.text("""
                    INSERT INTO batches (id, send_id, number, first_number, last_number, state)
                    SELECT gen_random_uuid(), id, 0, 1, 3, 'done' FROM sends
                """)
            )
            await connection.execute(
                sa.text("""
                    INSERT INTO deliveries (send_id, number, organisation_id, contact_id, email, domain, fields, state)
                    SELECT id, n, organisation_id, gen_random_uuid(), 'a@example.com', 'example.com', '{}', 'sent'
                    FROM sends, generate_series(1, 3) n
                """)
            )
        await migrations.upgrade(url, MIGRATIONS)
        await RetainingDeliveries(SqlRetention(engine), RetentionPolicy(31, None)).retain()
        async with engine.connect() as connection:
            assert await connection.scalar(sa.text("SELECT count(*) FROM closed_deliveries")) == 3
        await migrations.downgrade(url, MIGRATIONS, _BEFORE)
        await migrations.upgrade(url, MIGRATIONS)
        await migrations.check(url, MIGRATIONS)
    finally:
        await engine.dispose()
