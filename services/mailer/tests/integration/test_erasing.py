"""Forgetting contacts: nothing is left but whom not to mail, whatever happens at the same time."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_common.clock import new_id
from posthorn_common.errors import TransientError
from posthorn_common.testing import TokenMint, tables_that_hold
from posthorn_contracts.campaigns.internal_v1 import AudienceMember, ErasureSubject
from posthorn_contracts.campaigns.v1 import ContactErased, ContactErasedData
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage
from posthorn_contracts.mailer.v1 import ErasedByMailer
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_mailer.adapters.db.records import SqlRecordsUnitOfWork
from posthorn_mailer.adapters.db.retention import SqlRetention
from posthorn_mailer.adapters.db.tables import deliveries, erased_suppressions, messages, suppressed_contacts
from posthorn_mailer.app.retaining import RetainingDeliveries, RetentionPolicy
from posthorn_mailer.app.suppressing import NewSuppression
from posthorn_mailer.domain.errors import InvalidMessage
from posthorn_mailer.domain.messages import MessageClosing, MessageStatus
from posthorn_mailer.domain.replies import Stage, replied
from posthorn_mailer.domain.suppressions import SuppressionReason
from posthorn_mailer.entrypoints.http.app import build_app

from .support import Office, eventually

pytestmark = pytest.mark.integration

_CANARY = "canary.7f3a@example.com"


def reader(email: str = _CANARY, contact_id: UUID | None = None) -> AudienceMember:
    return AudienceMember(contact_id=contact_id or new_id(), email=email, fields={"first_name": "Ada", "email": email})


async def write(office: Office, to: str = _CANARY, **changes: Any) -> UUID:
    wanted = TransactionalMessage(
        **{
            "organisation_id": office.organisation_id,
            "idempotency_key": new_id().hex,
            "purpose": "confirmation",
            "to_email": to,
            "from_email": "post@posthorn.example",
            "subject": f"Dear {to}",
            "html": f"<p>{to}</p>",
            "text": f"Are you {to}?",
            **changes,
        }
    )
    return (await office.container.accepting_messages.accept(wanted)).id


async def message(office: Office, message_id: UUID) -> Any:
    async with office.container.engine.connect() as connection:
        return (await connection.execute(sa.select(messages).where(messages.c.id == message_id))).one()


async def hashes(office: Office) -> list[str]:
    async with office.container.engine.connect() as connection:
        return list(await connection.scalars(sa.select(erased_suppressions.c.reason)))


async def test_an_erased_address_is_nowhere_but_as_a_keyed_hash(office: Office, smtp_server: Any) -> None:
    ada, old = reader(), "canary.before@example.com"
    smtp_server.reply_to(_CANARY, f"550 5.1.1 {_CANARY} is unknown here")
    closed = await office.plan([ada, reader("ben@example.com")], port=smtp_server.port)
    await office.send_all()
    await office.execute("UPDATE sends SET drained_at = now() - interval '40 days'")
    retention = SqlRetention(office.container.engine)
    await RetainingDeliveries(retention, RetentionPolicy(31, None)).retain()
    waiting = office.add_campaign([ada])
    await office.start(waiting)
    await office.container.planning.plan_send(waiting)
    await write(office, contact_id=ada.contact_id)
    await write(office, old, contact_id=ada.contact_id)
    await office.container.sending_messages.send(await write(office))
    never_mailed = NewSuppression(_CANARY, SuppressionReason.MANUAL)
    await office.container.suppressing.add(office.organisation_id, [never_mailed], "by hand")
    holding = set(await tables_that_hold(office.container.engine, "canary."))
    assert {"deliveries", "closed_deliveries", "messages", "suppressions"} <= holding, "there is something to erase"

    await office.erase(ada.contact_id, email=_CANARY)

    assert await tables_that_hold(office.container.engine, "canary.") == []
    assert await tables_that_hold(office.container.engine, "ben@") != [], "others stay"
    assert sorted(await hashes(office)) == ["hard_bounce", "unsubscribe"]
    (confirmed,) = await office.events(ErasedByMailer)
    assert confirmed.data.counts == {"deliveries": 2, "messages": 3, "suppressions": 1}
    assert len(await office.rows(deliveries, waiting)) == 1
    assert (await office.counts(closed))["bounced"] == 1, "counts stay"


async def test_who_has_had_no_campaign_is_found_by_the_address_that_campaigns_knows(office: Office) -> None:
    await office.add_relay(1)
    message_id = await write(office, purpose="test_send")
    await office.erase(new_id(), email=_CANARY)
    found = await message(office, message_id)
    assert (found.to_email, found.status, found.next_attempt_at) == ("", "suppressed", None)
    assert await tables_that_hold(office.container.engine, "canary.") == []


async def test_mail_that_waits_for_an_erased_address_is_not_sent(office: Office, smtp_server: Any) -> None:
    ada, ben = reader(), reader("ben@example.com")
    campaign_id = await office.plan([ada, ben], port=smtp_server.port)
    message_id = await write(office, contact_id=ada.contact_id)
    await office.erase(ada.contact_id, email=_CANARY)
    await office.send_all()
    await office.container.sending_messages.send(message_id)
    assert [list(mail.envelope_to) for mail in smtp_server.messages] == [["ben@example.com"]]
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 1, "cancelled": 1}


async def test_mail_about_accounts_is_for_users_and_is_sent(office: Office, smtp_server: Any) -> None:
    await office.add_relay(smtp_server.port)
    message_id = await write(office, purpose="account")
    await office.erase(new_id(), email=_CANARY)
    await office.container.sending_messages.send(message_id)
    assert (await message(office, message_id)).status == "sent"


async def test_who_is_erased_between_reading_the_audience_and_planning_is_not_stored(
    office: Office, smtp_server: Any
) -> None:
    ada, ben = reader(), reader("ben@example.com")
    await office.erase(ada.contact_id, email=_CANARY)
    campaign_id = await office.plan([ada, ben], port=smtp_server.port)
    assert await tables_that_hold(office.container.engine, "canary.") == [], "neither a delivery nor a suppression"
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 1, "suppressed": 1}
    with pytest.raises(InvalidMessage):
        await write(office, contact_id=ada.contact_id)


async def test_an_address_that_comes_back_is_a_new_contact_and_stays_suppressed(
    office: Office, smtp_server: Any, mint: TokenMint
) -> None:
    await office.erase(new_id(), email=_CANARY)
    again = reader()
    first = await office.plan([again], port=smtp_server.port)
    await office.send_all()
    assert await office.counts(first) == {"suppressed": 1}
    headers = {"Authorization": f"Bearer {mint.access_token(office.organisation_id, ROLE_PERMISSIONS[Role.OWNER])}"}
    transport = httpx.ASGITransport(build_app(office.container))
    async with httpx.AsyncClient(transport=transport, base_url="http://mailer") as client:
        path = f"/v1/suppressions/{quote(_CANARY)}"
        shown = (await client.get(path, headers=headers)).json()
        assert (shown["reason"], shown["source"]) == ("unsubscribe", "erased contact")
        assert (await client.delete(path, headers=headers)).status_code == 204
        second = office.add_campaign([again])
        await office.start(second)
        await office.container.planning.plan_send(second)
        await office.send_all()
        assert await office.counts(second) == {"sent": 1}, "somebody has removed the suppression"
        # It can be removed without the address having come back.
        await office.erase(again.contact_id, email=_CANARY)
        assert await hashes(office) == ["unsubscribe"]
        assert (await client.delete(path, headers=headers)).status_code == 204
        assert (await client.delete(path, headers=headers)).status_code == 404
    assert await hashes(office) == []


async def test_what_a_relay_says_of_somebody_erased_meanwhile_is_not_kept(office: Office, smtp_server: Any) -> None:
    ada = reader()
    smtp_server.reply_to(_CANARY, f"550 5.1.1 {_CANARY} is unknown here")
    worker, gate = office.worker()
    campaign_id = await office.plan([ada], port=smtp_server.port)
    gate.before.clear()
    sending = asyncio.create_task(worker.send_all_due())
    await eventually(lambda: gate.waiting)
    await office.erase(ada.contact_id, email=_CANARY)
    gate.before.set()
    await sending
    assert await office.counts(campaign_id) == {"bounced": 1}
    assert await tables_that_hold(office.container.engine, "canary.") == []


@pytest.mark.parametrize(("status", "delay"), [(MessageStatus.BOUNCED, None), (MessageStatus.DEFERRED, 5.0)])
async def test_a_message_on_its_way_to_somebody_erased_leaves_nothing_and_is_not_tried_again(
    office: Office, status: MessageStatus, delay: float | None
) -> None:
    await office.add_relay(1)
    message_id, attempt_id = await write(office), new_id()
    sending = office.container.sending_messages

    def unit_of_work() -> SqlRecordsUnitOfWork:
        return sending._new_unit_of_work()  # type: ignore[return-value]

    async with unit_of_work() as uow:
        opened = await uow.messages.open(message_id, attempt_id, 60)
    assert opened is not None
    await office.erase(new_id(), email=_CANARY)
    attempt = replied(Stage.RCPT, 550, f"5.1.1 {_CANARY} is unknown")
    closing = MessageClosing(
        status=status, attempt=attempt, cause="recipient", counted=True, delay_seconds=delay, suppress=delay is None
    )
    await sending._record(opened, attempt_id, closing)
    found = await message(office, message_id)
    assert (found.status, found.reply, found.next_attempt_at) == (
        "bounced" if delay is None else "suppressed", None, None
    )  # fmt: skip
    assert found.finished_at is not None
    assert await tables_that_hold(office.container.engine, "canary.") == []


async def test_a_request_waits_for_campaigns_is_confirmed_once_and_again_when_it_is_asked_again(
    office: Office,
) -> None:
    contact_id, erasure_id = new_id(), new_id()
    await office.add_relay(1)
    await write(office)

    def request() -> ContactErased:
        data = ContactErasedData(contact_id=contact_id, erasure_id=erasure_id)
        return ContactErased.about(
            contact_id, id=new_id(), organisation_id=office.organisation_id, occurred_at=datetime.now(UTC), data=data
        )

    first = request()
    with pytest.raises(TransientError):
        await office.container.erasing.on_contact_erased(first)
    assert await office.events(ErasedByMailer) == []
    assert "messages" in await tables_that_hold(office.container.engine, "canary.")
    subject = ErasureSubject(
        erasure_id=erasure_id, organisation_id=office.organisation_id, contact_id=contact_id, email=_CANARY
    )
    office.campaigns.erased[erasure_id] = subject
    for _ in range(2):
        await office.container.erasing.on_contact_erased(first)
    (confirmed,) = await office.events(ErasedByMailer)
    assert (confirmed.data.erasure_id, confirmed.data.contact_id) == (erasure_id, contact_id)
    assert confirmed.data.counts == {"deliveries": 0, "messages": 1, "suppressions": 0}
    office.campaigns.erased[erasure_id] = subject.model_copy(update={"email": None})
    await office.container.erasing.on_contact_erased(request())
    assert [event.data.counts["messages"] for event in await office.events(ErasedByMailer)] == [1, 0]
    assert await tables_that_hold(office.container.engine, "canary.") == []
    async with office.container.engine.connect() as connection:
        reasons = list(await connection.scalars(sa.select(suppressed_contacts.c.reason)))
    assert reasons == ["erased"]


async def test_all_that_is_known_of_a_contact_is_disclosed_to_other_services(
    office: Office, smtp_server: Any, mint: TokenMint
) -> None:
    ada = reader()
    smtp_server.reply_to(_CANARY, f"550 5.1.1 {_CANARY} is unknown here")
    closed = await office.plan([ada, reader("ben@example.com")], port=smtp_server.port)
    await office.send_all()
    await office.execute("UPDATE sends SET drained_at = now() - interval '40 days'")
    await RetainingDeliveries(SqlRetention(office.container.engine), RetentionPolicy(31, None)).retain()
    waiting = office.add_campaign([ada])
    await office.start(waiting)
    await office.container.planning.plan_send(waiting)
    await write(office)
    await write(office, "before@example.com", contact_id=ada.contact_id)
    await write(office, purpose="account")
    await write(office, "ben@example.com")
    body = {"organisation_id": str(office.organisation_id), "contact_id": str(ada.contact_id), "email": _CANARY}
    headers = {"Authorization": f"Bearer {mint.service_token('campaigns', 'mailer')}"}
    container = dataclasses.replace(office.container, identity=mint.identity("mailer"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_app(container)), base_url="http://m") as client:
        answer = await client.post("/internal/contacts/disclosure", json=body, headers=headers)
        assert (await client.post("/internal/contacts/disclosure", json=body)).status_code == 401
        other = await client.post(
            "/internal/contacts/disclosure", json={**body, "organisation_id": str(new_id())}, headers=headers
        )
    records = answer.json()["records"]
    by_campaign = {UUID(row["campaign_id"]): row for row in records["deliveries"]}
    assert (by_campaign[closed]["state"], by_campaign[waiting]["state"]) == ("bounced", "pending")
    assert by_campaign[waiting]["fields"] == {"first_name": "Ada", "email": _CANARY}
    assert sorted(row["to_email"] for row in records["messages"]) == ["before@example.com", _CANARY]
    assert "Are you" not in answer.text, "texts may hold links that are for the recipient alone"
    assert [row["reason"] for row in records["suppressions"]] == ["hard_bounce"]
    assert "ben@" not in answer.text
    assert all(rows == [] for rows in other.json()["records"].values())
