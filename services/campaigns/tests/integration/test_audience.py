"""Who a campaign goes to."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa

from posthorn_campaigns.adapters.db.audiences import audience_query
from posthorn_campaigns.app.managing_contacts import NewContact
from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.audience import REPLACES, ContactStatus
from posthorn_campaigns.domain.segments import Audience
from posthorn_common.clock import SystemClock, new_id

from .plan_support import nodes_of, plan_of

pytestmark = pytest.mark.integration
NOW = SystemClock().now()


async def _list(container: Container, organisation_id: UUID) -> UUID:
    return (await container.managing_lists.add(organisation_id, "Readers", "")).contact_list.id


async def _contact(container: Container, organisation_id: UUID, *list_ids: UUID) -> UUID:
    wanted = NewContact(email=f"{new_id()}@example.com", list_ids=list_ids)
    return (await container.managing_contacts.add(organisation_id, wanted)).contact.id


async def _audience(container: Container, organisation_id: UUID, list_ids: list[UUID], limit: int) -> list[UUID]:
    members: list[UUID] = []
    while True:
        after = members[-1] if members else None
        async with container.managing_contacts._new_unit_of_work() as uow:
            page = await uow.audiences.page(Audience(organisation_id, NOW, tuple(list_ids)), after, limit)
        members += [contact.id for contact in page]
        if len(page) < limit:
            return members


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_everybody_who_is_active_and_on_any_of_the_lists_is_there_once_in_order(
    container: Container, organisation_id: UUID, limit: int
) -> None:
    first, second, other = [await _list(container, organisation_id) for _ in range(3)]
    both = await _contact(container, organisation_id, first, second)
    gone = await _contact(container, organisation_id, first)
    await container.managing_contacts.unsubscribe(organisation_id, gone)
    one = await _contact(container, organisation_id, first)
    left = await _contact(container, organisation_id, first, second)
    await container.managing_lists.unsubscribe(organisation_id, first, left)
    await _contact(container, organisation_id, other)
    nobody = await _contact(container, organisation_id)
    two = await _contact(container, organisation_id, second)
    assert await _audience(container, organisation_id, [first, second], limit) == [both, one, left, two]
    assert await _audience(container, organisation_id, [first], limit) == [both, one]
    assert await _audience(container, organisation_id, [], limit) == []
    assert await _audience(container, new_id(), [first, second], limit) == []
    assert nobody not in await _audience(container, organisation_id, [first, second, other], limit)


async def test_a_page_reads_no_more_of_the_lists_than_it_returns(container: Container, organisation_id: UUID) -> None:
    """However the statistics are: a small list beside a large one must not be searched for in all subscriptions."""
    large, small = await _list(container, organisation_id), await _list(container, organisation_id)
    async with container.engine.begin() as connection:
        ids = {"organisation": organisation_id, "list": large}
        await connection.execute(
            sa.text(
                "INSERT INTO contacts SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), :organisation, "
                "n || '@example.com', '', '', '{}', 'active', now(), now() FROM generate_series(1, 50000) AS n"
            ),
            ids,
        )
        await connection.execute(
            sa.text(
                "INSERT INTO subscriptions SELECT CAST(:list AS uuid), id, organisation_id, 'subscribed', now() "
                "FROM contacts WHERE organisation_id = :organisation"
            ),
            ids,
        )
    async with container.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(sa.text("ANALYZE contacts, subscriptions"))
    await _contact(container, organisation_id, small)
    audience = Audience(organisation_id, NOW, (large, small))
    async with container.engine.connect() as connection:
        plan = await plan_of(connection, audience_query(audience, None, 100), analyze=True)
    scans = [node for node in nodes_of(plan) if node.get("Relation Name") == "subscriptions"]
    assert scans, plan
    for scan in scans:
        read = (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"]
        assert read <= 250, scan


@pytest.mark.parametrize("before", ContactStatus)
@pytest.mark.parametrize("wanted", ContactStatus)
async def test_what_a_person_says_outweighs_what_a_server_says(
    container: Container, organisation_id: UUID, before: ContactStatus, wanted: ContactStatus
) -> None:
    contact_id = await _contact(container, organisation_id)
    async with container.engine.begin() as connection:
        change = sa.text("UPDATE contacts SET status = :status WHERE id = :id")
        await connection.execute(change, {"status": before, "id": contact_id})
    may = before in REPLACES[wanted]
    async with container.managing_contacts._new_unit_of_work() as uow:
        assert await uow.contacts.set_status(new_id(), contact_id, wanted, NOW) is None
        assert await uow.contacts.set_status(None, contact_id, wanted, NOW) == (organisation_id if may else None)
        assert await uow.contacts.set_status(organisation_id, contact_id, wanted, NOW) is None, "it is so by now"
        assert (await uow.contacts.get(organisation_id, contact_id)).status is (wanted if may else before)
