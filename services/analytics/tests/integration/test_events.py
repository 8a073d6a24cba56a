"""What events of other services leave in the statistics: whatever their order, however often they come."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthorn_analytics.app.erasing import Pseudonyms
from posthorn_analytics.bootstrap import Container
from posthorn_common.clock import new_id
from posthorn_common.testing import TokenMint
from posthorn_contracts.analytics.v1 import ErasedByAnalytics
from posthorn_contracts.campaigns.v1 import (
    CampaignCancelled,
    CampaignPaused,
    CampaignResumed,
    CampaignRetryRequested,
    CampaignUnscheduled,
)

from .support import LINK_SECRET, Letter, handle, picture, record

pytestmark = pytest.mark.integration

ADA, BEN, CLEO, DORA = (UUID(f"019abb20-7c00-7003-8a5e-3f2a9c0d000{number}") for number in range(1, 5))


@pytest.fixture
def letter(organisation_id: UUID) -> Letter:
    return Letter(organisation_id)


async def test_outcomes_are_counted_and_move(container: Container, letter: Letter, statistics: Any) -> None:
    await handle(
        container,
        letter.scheduled(),
        letter.started(),
        letter.planned(4),
        letter.recorded(record(ADA, "sent"), record(BEN, "deferred"), record(CLEO, "suppressed")),
        letter.recorded(record(BEN, "sent", previous="deferred"), record(DORA, "failed", domain="example.org")),
    )
    now = await statistics()
    assert (now["name"], now["status"], now["audience"]) == ("March letter", "sending", 4)
    counts = {name: now[name] for name in ("sent", "deferred", "suppressed", "failed", "bounced")}
    assert counts == {"sent": 2, "deferred": 0, "suppressed": 1, "failed": 1, "bounced": 0}
    assert now["rates"]["delivery"] == pytest.approx(2 / 3)

    await handle(container, letter.recorded(record(ADA, "bounced", previous="sent"), minute=7), letter.completed())
    now = await statistics()
    assert (now["sent"], now["bounced"], now["status"]) == (1, 1, "completed")
    assert (now["first_activity_at"], now["last_activity_at"]) == ("2026-03-02T12:03:00Z", "2026-03-02T12:03:00Z")
    domains = (await statistics("/domains"))["items"]
    assert [(item["domain"], item["sent"], item["bounced"], item["failed"]) for item in domains] == [
        ("example.com", 1, 1, 0),
        ("example.org", 0, 0, 1),
    ]
    [hour] = (await statistics("/timeline"))["items"]
    assert (hour["start"], hour["sent"], hour["bounced"]) == ("2026-03-02T12:00:00Z", 2, 1)


async def test_an_event_delivered_twice_changes_nothing(container: Container, letter: Letter) -> None:
    events = [
        letter.scheduled(),
        letter.changed(CampaignUnscheduled, 0.5),
        letter.started(),
        letter.changed(CampaignPaused, 2),
        letter.changed(CampaignResumed, 3),
        letter.planned(2),
        letter.impeded(3),
        letter.recovered(4),
        letter.recorded(record(ADA, "sent"), record(BEN, "failed")),
        letter.unsubscribed(ADA),
        letter.completed(status="completed_with_errors"),
        letter.changed(CampaignRetryRequested, 10),
        letter.erased(BEN),
        letter.changed(CampaignCancelled, 12),
    ]
    for event in events:
        await handle(container, event)
        before = await picture(container.engine, letter.campaign_id)
        await handle(container, event)
        assert await picture(container.engine, letter.campaign_id) == before, type(event).__name__


async def test_the_same_event_at_the_same_time_is_counted_once(
    container: Container, letter: Letter, statistics: Any
) -> None:
    event = letter.recorded(*(record(new_id(), "sent") for _ in range(50)))
    await asyncio.gather(*(handle(container, event) for _ in range(8)))
    assert (await statistics())["sent"] == 50


async def test_a_contact_unsubscribes_from_a_campaign_once(
    container: Container, letter: Letter, statistics: Any
) -> None:
    await handle(
        container,
        letter.unsubscribed(ADA, minute=70),
        letter.unsubscribed(ADA, minute=5),
        letter.unsubscribed(ADA, minute=90),
        letter.unsubscribed(BEN, through_campaign=False),
    )
    assert (await statistics())["unsubscribes"] == 1
    hours = (await statistics("/timeline"))["items"]
    assert [(hour["start"][11:16], hour["unsubscribes"]) for hour in hours] == [("12:00", 1), ("13:00", 0)]


async def test_the_newest_status_holds_whichever_comes_last(
    container: Container, letter: Letter, statistics: Any
) -> None:
    await handle(container, letter.completed(minute=9), letter.changed(CampaignPaused, 5), letter.started(1))
    assert (await statistics())["status"] == "completed"
    await handle(container, letter.changed(CampaignRetryRequested, 20))
    assert (await statistics())["status"] == "sending"


async def test_a_campaign_that_is_unscheduled_is_a_draft_until_it_is_scheduled_again(
    container: Container, letter: Letter, statistics: Any
) -> None:
    await handle(container, letter.changed(CampaignUnscheduled, 5), letter.scheduled(0))
    assert (await statistics())["status"] == "draft"
    await handle(container, letter.scheduled(6))
    assert (await statistics())["status"] == "scheduled"


async def test_deliveries_may_be_told_before_the_campaign_is_known(
    container: Container, letter: Letter, statistics: Any
) -> None:
    await handle(container, letter.recorded(record(ADA, "sent")))
    now = await statistics()
    assert (now["name"], now["status"], now["audience"], now["sent"]) == (None, None, 0, 1)
    await handle(container, letter.planned(1), letter.started())
    now = await statistics()
    assert (now["name"], now["status"], now["audience"], now["sent"]) == ("March letter", "sending", 1, 1)


async def test_a_move_told_before_its_first_outcome_shows_no_negative_number(
    container: Container, letter: Letter, statistics: Any
) -> None:
    await handle(container, letter.recorded(record(ADA, "sent", previous="deferred", minute=4)))
    now = await statistics()
    assert (now["sent"], now["deferred"]) == (1, 0)
    await handle(container, letter.recorded(record(ADA, "deferred", minute=3)))
    now = await statistics()
    assert (now["sent"], now["deferred"]) == (1, 0)


def _stream(letter: Letter, ada: UUID, ben: UUID, cleo: UUID, dora: UUID) -> list[Any]:
    return [
        letter.scheduled(0, name="Draft name"),
        letter.started(1),
        letter.planned(4, 1),
        letter.impeded(2),
        letter.recovered(3),
        letter.recorded(record(ada, "deferred", minute=2), record(ben, "sent", minute=2)),
        letter.recorded(record(ada, "sent", previous="deferred", minute=61), record(cleo, "ambiguous", minute=61)),
        letter.recorded(record(ben, "bounced", previous="sent", minute=130)),
        letter.recorded(record(dora, "sent", minute=3, domain="example.org")),
        letter.recorded(record(cleo, "sent", previous="ambiguous", minute=65)),
        letter.unsubscribed(ada, 70),
        letter.unsubscribed(ada, 150),
        letter.unsubscribed(dora, 5),
        letter.erased(dora, 6),
        letter.changed(CampaignPaused, 4),
        letter.changed(CampaignResumed, 8),
        letter.completed(8),
    ]


_EVENTS = 17


async def _result(container: Container, order: list[int]) -> dict[str, Any]:
    """Return what the stream leaves when it comes in this order, with names for ids."""
    letter = Letter(new_id())
    contacts = {name: new_id() for name in ("ada", "ben", "cleo", "dora")}
    events = _stream(letter, *contacts.values())
    assert len(events) == _EVENTS
    await handle(container, *(events[index] for index in order))
    names = {contact_id: name for name, contact_id in contacts.items()}
    names[Pseudonyms(LINK_SECRET).of(contacts["dora"])] = "nobody"
    found = await picture(container.engine, letter.campaign_id)

    def named(value: Any) -> Any:
        return names.get(value, value) if isinstance(value, UUID) else value

    return {
        table: sorted(
            ({key: named(value) for key, value in row.items() if key != "organisation_id"} for row in rows),
            key=repr,
        )
        for table, rows in found.items()
    }


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(order=st.permutations(range(_EVENTS)), repeated=st.lists(st.integers(0, _EVENTS - 1), max_size=5))
async def test_any_order_gives_the_same_result(container: Container, order: list[int], repeated: list[int]) -> None:
    expected = await _result(container, list(range(_EVENTS)))
    assert expected["recipients"], "the stream leaves something to compare"
    assert await _result(container, [*order, *repeated]) == expected


async def test_nothing_that_identifies_an_erased_contact_stays(
    container: Container, client: httpx.AsyncClient, letter: Letter, statistics: Any, token_of: Any
) -> None:
    contact = new_id()
    await handle(container, letter.started(), letter.recorded(record(contact, "sent")), letter.unsubscribed(contact))
    token = token_of(letter.campaign_id, contact)
    assert (await client.get(f"/t/o/{token}")).status_code == 200
    before = await statistics()
    await handle(container, letter.erased(contact))
    assert (await client.get(f"/t/o/{token}")).status_code == 200, "the message may still be shown"
    assert (await client.get(f"/t/c/{token}/0")).status_code == 302
    await handle(container, letter.recorded(record(contact, "complained", previous="sent")))
    stored = await picture(container.engine, letter.campaign_id)
    assert str(contact) not in str(stored)
    after = await statistics()
    assert (after["unique_opens"], after["clicks"], after["unsubscribes"]) == (1, 0, 1) == (
        before["unique_opens"], before["clicks"], before["unsubscribes"]
    )  # fmt: skip
    async with container.engine.connect() as connection:
        for table in ("erased_contacts", "recipients", "engagements"):
            everything = list(await connection.execute(sa.text(f"SELECT * FROM {table}")))
            assert str(contact) not in str(everything)


async def test_an_erasure_is_confirmed_with_counts_once_for_each_request(container: Container, letter: Letter) -> None:
    contact = new_id()
    await handle(container, letter.started(), letter.recorded(record(contact, "sent")))
    request = letter.erased(contact)
    await handle(container, request, request)
    again = request.model_copy(update={"id": new_id()})
    await handle(container, again)
    query = sa.text("SELECT body FROM outbox WHERE event_type = :kind AND body LIKE :contact ORDER BY id")
    values = {"kind": ErasedByAnalytics.event_type, "contact": f"%{contact}%"}
    async with container.engine.connect() as connection:
        told = [ErasedByAnalytics.model_validate_json(body) for body in await connection.scalars(query, values)]
    assert [event.data.erasure_id for event in told] == [request.data.erasure_id] * 2
    assert [event.data.counts["recipients"] for event in told] == [1, 0]


async def test_an_erasure_waits_for_those_who_write_at_the_same_time(container: Container, letter: Letter) -> None:
    contacts = [new_id() for _ in range(20)]
    await handle(container, letter.started())
    await asyncio.gather(
        *(handle(container, letter.recorded(record(contact, "sent"))) for contact in contacts),
        *(handle(container, letter.erased(contact)) for contact in contacts),
    )
    stored = str(await picture(container.engine, letter.campaign_id))
    assert not [contact for contact in contacts if str(contact) in stored]


async def test_events_of_many_recipients_in_opposite_orders_do_not_lock_one_another_out(
    container: Container, letter: Letter, statistics: Any
) -> None:
    contacts = [new_id() for _ in range(200)]
    records = [record(contact, "sent", domain=f"{index % 20}.example") for index, contact in enumerate(contacts)]
    moves = [
        record(contact, "bounced", previous="sent", domain=r.domain)
        for contact, r in zip(contacts, records, strict=True)
    ]
    events = [letter.recorded(*records), letter.recorded(*reversed(moves))]
    events += [letter.recorded(record(contact, "ambiguous")) for contact in contacts[:10]]
    events += [letter.unsubscribed(contact) for contact in contacts[:20]]
    await asyncio.gather(*(handle(container, event) for event in events))
    now = await statistics()
    assert (now["sent"], now["bounced"], now["ambiguous"], now["unsubscribes"]) == (0, 200, 10, 20)


async def test_all_that_is_known_of_a_contact_is_disclosed_to_other_services(
    container: Container, client: httpx.AsyncClient, letter: Letter, token_of: Any, mint: TokenMint
) -> None:
    contact, other = new_id(), new_id()
    for each in (contact, other):
        await handle(container, letter.started(), letter.recorded(record(each, "sent")))
        assert (await client.get(f"/t/c/{token_of(letter.campaign_id, each)}/0")).status_code == 302
    body = {"organisation_id": str(letter.organisation_id), "contact_id": str(contact), "email": "ada@example.com"}
    headers = {"Authorization": f"Bearer {mint.service_token('campaigns', 'analytics')}"}
    path = "/internal/contacts/disclosure"
    records = (await client.post(path, json=body, headers=headers)).json()["records"]
    (received,) = records["recipients"]
    assert (received["campaign_id"], received["domain"]) == (str(letter.campaign_id), "example.com")
    (click,) = [row for row in records["engagements"] if row["kind"] == "click"]
    assert click["url"] == "https://example.com/march"
    assert str(other) not in str(records)
    assert (await client.post(path, json=body)).status_code == 401
    stranger = {**body, "organisation_id": str(new_id())}
    nothing = (await client.post(path, json=stranger, headers=headers)).json()["records"]
    assert nothing == {"recipients": [], "engagements": []}
