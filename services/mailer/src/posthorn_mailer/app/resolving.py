"""Deliveries as people see them, and what people decide about those in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog

from posthorn_common.clock import Clock
from posthorn_mailer.app.doorbell import Doorbell
from posthorn_mailer.app.ports_sends import NewSendingUnitOfWork, Span
from posthorn_mailer.app.reporting import drain_if_done, report
from posthorn_mailer.domain.deliveries import Delivery, DeliveryState, Resolution, resolved
from posthorn_mailer.domain.errors import SendClosed, SendNotRunning
from posthorn_mailer.domain.sends import Send, SendStatus

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SendView:
    """A send with its deliveries by state."""

    send: Send
    counts: dict[DeliveryState, int]


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """Which deliveries to list: those after a number, in a state, with a text in their address."""

    state: DeliveryState | None
    search: str | None
    after: int | None
    limit: int


class ResolvingDeliveries:
    """The use cases behind the API."""

    def __init__(self, *, new_unit_of_work: NewSendingUnitOfWork, doorbell: Doorbell, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._doorbell = doorbell
        self._clock = clock

    async def get_send(self, organisation_id: UUID, campaign_id: UUID) -> SendView:
        """Raises SendNotFound."""
        async with self._new_unit_of_work() as uow:
            send = await uow.sends.get(organisation_id, campaign_id)
            return SendView(send, await uow.deliveries.counts(send.id))

    async def check_send(self, organisation_id: UUID, campaign_id: UUID) -> None:
        """Raises SendNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.sends.get(organisation_id, campaign_id)

    async def list_deliveries(self, organisation_id: UUID, campaign_id: UUID, query: DeliveryQuery) -> list[Delivery]:
        """Raises SendNotFound."""
        async with self._new_unit_of_work() as uow:
            send = await uow.sends.get(organisation_id, campaign_id)
            return await uow.deliveries.page(
                send.id, state=query.state, search=query.search, after=query.after, limit=query.limit
            )

    async def get_delivery(self, organisation_id: UUID, campaign_id: UUID, contact_id: UUID) -> Delivery:
        """Raises SendNotFound, DeliveryNotFound."""
        async with self._new_unit_of_work() as uow:
            send = await uow.sends.get(organisation_id, campaign_id)
            return await uow.deliveries.get(organisation_id, send.id, contact_id)

    async def resolve(
        self, organisation_id: UUID, campaign_id: UUID, contact_id: UUID, resolution: Resolution
    ) -> Delivery:
        """Decide about a delivery in doubt. Sent again, it keeps its Message-ID and Date.

        Raises SendNotFound, DeliveryNotFound, DeliveryNotAmbiguous, SendNotRunning, SendClosed.
        """
        async with self._new_unit_of_work() as uow:
            await uow.sends.get(organisation_id, campaign_id)
            # Whoever changes a send's deliveries in bulk locks the send first, too.
            await uow.sends.lock(campaign_id)
            send = await uow.sends.get(organisation_id, campaign_id)
            if send.closed:
                raise SendClosed
            number = (await uow.deliveries.get(organisation_id, campaign_id, contact_id)).number
            await uow.batches.lock_holding(send.id, number)
            delivery = await uow.deliveries.lock(organisation_id, campaign_id, contact_id)
            state = resolved(delivery.state, resolution)
            if state is DeliveryState.PENDING and send.status not in {SendStatus.SENDING, SendStatus.PAUSED}:
                raise SendNotRunning(send.status)
            await uow.deliveries.resolve(delivery, state)
            if state is DeliveryState.PENDING:
                await uow.batches.reopen_holding(send.id, number)
            else:
                await uow.batches.recount_holding(send.id, number)
                span = Span(send_id=send.id, organisation_id=organisation_id, first=number, last=number)
                await report(uow, span, self._clock)
            await uow.sends.reopen(send.id)
        log.info("delivery_resolved", send_id=str(campaign_id), contact_id=str(contact_id), resolution=resolution)
        await self._follow_up(campaign_id, state)
        return await self.get_delivery(organisation_id, campaign_id, contact_id)

    async def _follow_up(self, campaign_id: UUID, state: DeliveryState) -> None:
        if state is not DeliveryState.PENDING:
            await drain_if_done(self._new_unit_of_work, campaign_id, self._clock)
            return
        async with self._new_unit_of_work() as uow:
            due = await uow.batches.due_of(campaign_id)
        await self._doorbell.send_all(due)
