"""Tells the other services what became of deliveries: each change once, whoever has died in between."""

from __future__ import annotations

from uuid import UUID

import structlog

from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.mailer.v1 import (
    DeliveriesRecorded,
    DeliveriesRecordedData,
    SendDrained,
    SendDrainedData,
    SendRecovered,
    SendRecoveredData,
)
from posthorn_mailer.app.ports_sends import NewSendingUnitOfWork, SendingUnitOfWork, Span
from posthorn_mailer.domain.deliveries import OPEN, DeliveryState
from posthorn_mailer.domain.sends import SendStatus

log = structlog.get_logger(__name__)

_RECORDS_PER_EVENT = 1000
_NO_RECORDS = '"records":[]'


async def report(uow: SendingUnitOfWork, span: Span, clock: Clock) -> int:
    """Write the events for all changes of a span that were not told yet; return how many changes."""
    parts = await uow.deliveries.take_unreported(span, _RECORDS_PER_EVENT)
    for part in parts:
        data = DeliveriesRecordedData(campaign_id=span.send_id, records=())
        told = event(DeliveriesRecorded, span.send_id, span.organisation_id, data, clock)
        await uow.publish(told, written=_with_records(told, part.records))
    return sum(part.changes for part in parts)


def _with_records(told: DeliveriesRecorded, records: str) -> str:
    """Return the event as JSON with these records, which are JSON already."""
    head, found, tail = told.model_dump_json().rpartition(_NO_RECORDS)
    if not found:
        raise AssertionError("the contract names its records otherwise")
    return f'{head}"records":{records}{tail}'


async def report_recovery(uow: SendingUnitOfWork, span: Span, clock: Clock) -> None:
    """Write the event that mail gets through, if it did not before."""
    if await uow.sends.recover(span.send_id):
        data = SendRecoveredData(campaign_id=span.send_id)
        await uow.publish(event(SendRecovered, span.send_id, span.organisation_id, data, clock))


async def drain_if_done(new_unit_of_work: NewSendingUnitOfWork, send_id: UUID, clock: Clock) -> bool:
    """Write the event that every delivery of the send is final, if it is so and was not told; return whether."""
    async with new_unit_of_work() as uow:
        locked = await uow.sends.lock(send_id)
        if locked is None:
            return False
        send = locked[0]
        if send.planned_at is None or send.drained_at is not None or send.status is SendStatus.FAILED:
            return False
        if await uow.batches.open_count(send_id):
            return False
        counts = await uow.deliveries.recount(send_id)
        if any(counts[state] for state in OPEN):
            log.error("open_deliveries_in_finished_batches", send_id=str(send_id))
            await uow.batches.reopen_with_open_deliveries(send_id)
            return False
        span = Span(send_id=send_id, organisation_id=send.organisation_id, first=0, last=0)
        await report_recovery(uow, span, clock)
        await uow.sends.mark_drained(send_id)
        data = SendDrainedData(
            campaign_id=send_id,
            audience=sum(counts.values()),
            sent=counts[DeliveryState.SENT] + counts[DeliveryState.COMPLAINED],
            bounced=counts[DeliveryState.BOUNCED],
            failed=counts[DeliveryState.FAILED],
            suppressed=counts[DeliveryState.SUPPRESSED],
            cancelled=counts[DeliveryState.CANCELLED],
            ambiguous=counts[DeliveryState.AMBIGUOUS],
        )
        await uow.publish(event(SendDrained, send_id, send.organisation_id, data, clock))
    log.info("send_drained", send_id=str(send_id), audience=data.audience)
    return True
