"""Planning: the audience of a started campaign becomes deliveries, and those become batches.

A page of the audience, its deliveries, its batches and the cursor are one transaction, so a crash resumes after the
last page and repeats none. Batches are ready as soon as their page is stored: the first messages leave while the rest
is being planned.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event
from posthorn_common.loops import run_every
from posthorn_contracts.mailer.v1 import SendFailed, SendFailedData, SendPlanned, SendPlannedData
from posthorn_mailer.app.doorbell import Doorbell
from posthorn_mailer.app.metrics import PLANNED
from posthorn_mailer.app.ports_content import CompositionFailed, Printer
from posthorn_mailer.app.ports_planning import CampaignsClient, ContentRefused, PinnedContent, RecipientPage
from posthorn_mailer.app.ports_sends import Batch, NewSendingUnitOfWork, PlanClaim
from posthorn_mailer.app.ports_transport import Relays
from posthorn_mailer.app.reporting import drain_if_done
from posthorn_mailer.domain.errors import RelayNotFound
from posthorn_mailer.domain.sends import Send

log = structlog.get_logger(__name__)

# The lease only keeps a second planner from working in vain; after a planner's death, planning waits for so long.
_LEASE_SECONDS = 15.0
_RENEW_SECONDS = 4.0
# Recipients may have anything from a name to 64 KiB of merge fields, and a page has to fit into memory.
_FIRST_PAGE = 500
_PAGE_CHARACTERS = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PlanSizes:
    """How much is done at a time."""

    page: int
    batch: int


class _CannotSend(Exception):
    """The campaign cannot be sent; the message says why, for people."""


class PlanningSends:
    """The use cases of planning."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewSendingUnitOfWork,
        campaigns: CampaignsClient,
        relays: Relays,
        printer: Printer,
        doorbell: Doorbell,
        sizes: PlanSizes,
        clock: Clock,
        unsubscribe_email: Callable[[UUID, str], Awaitable[str | None]],
        reinstate: Callable[[UUID, Sequence[str], Sequence[str]], Awaitable[None]],
    ) -> None:
        """`unsubscribe_email` tells where recipients of mail from an address may unsubscribe by mail.

        `reinstate` suppresses again addresses that were erased, given contacts and addresses."""
        self._new_unit_of_work = new_unit_of_work
        self._campaigns = campaigns
        self._relays = relays
        self._printer = printer
        self._doorbell = doorbell
        self._sizes = sizes
        self._clock = clock
        self._unsubscribe_email = unsubscribe_email
        self._reinstate = reinstate

    async def plan_next(self) -> bool:
        """Plan a send that nobody is at; return whether there was one."""
        async with self._new_unit_of_work() as uow:
            waiting = await uow.sends.to_plan(1)
        if waiting:
            await self.plan_send(waiting[0])
        return bool(waiting)

    async def plan_send(self, send_id: UUID) -> None:
        """Plan what is left to plan. Does nothing if that is over, not wanted, or another planner is at it.

        Raises TransientError when the campaigns service is away; then the next planner resumes.
        """
        async with self._new_unit_of_work() as uow:
            claim = await uow.sends.claim_plan(send_id, _LEASE_SECONDS)
        if claim is None:
            return
        try:
            async with self._lease_kept(claim):
                if claim.content is None:
                    await self._prepare(claim)
                await self._plan_pages(claim)
        except _CannotSend as error:
            await self._fail(claim.send, str(error))
        except BaseException:
            async with self._new_unit_of_work() as uow:
                await uow.sends.release_plan(claim)
            raise

    async def _prepare(self, claim: PlanClaim) -> None:
        """Fetch and check all that does not depend on recipients, before anybody is written down."""
        await self._check_relay(claim.send)
        try:
            content = (await self._pinned(claim.send)).model_dump_json()
            await self._printer.letter(content)
        except (ContentRefused, CompositionFailed) as error:
            raise _CannotSend(str(error)) from error
        async with self._new_unit_of_work() as uow:
            await uow.sends.save_content(claim, content)

    async def _pinned(self, send: Send) -> PinnedContent:
        content = await self._campaigns.content(send.id)
        email = await self._unsubscribe_email(send.organisation_id, content.from_email)
        return PinnedContent(**dict(content), unsubscribe_email=email)

    async def _check_relay(self, send: Send) -> None:
        if send.relay_id is None:
            if await self._relays.default(send.organisation_id) is None:
                raise _CannotSend("The organisation has no relay to send through.")
            return
        try:
            await self._relays.get(send.organisation_id, send.relay_id)
        except RelayNotFound as error:
            raise _CannotSend("The relay that the campaign should be sent through does not exist.") from error

    @contextlib.asynccontextmanager
    async def _lease_kept(self, claim: PlanClaim) -> AsyncGenerator[None]:
        """Renew the lease meanwhile. Whether it is lost is for `advance_plan` to say."""
        over = asyncio.Event()

        async def renew() -> None:
            async with self._new_unit_of_work() as uow:
                await uow.sends.renew_plan(claim, _LEASE_SECONDS)

        renewing = asyncio.create_task(run_every(_RENEW_SECONDS, renew, stop=over, name="renew_plan"))
        try:
            yield
        finally:
            over.set()
            await renewing

    async def _plan_pages(self, claim: PlanClaim) -> None:
        """Store page by page, while the next one is being fetched already."""
        send, limit = claim.send, min(_FIRST_PAGE, self._sizes.page)
        fetching = asyncio.create_task(self._page(send, claim.cursor, limit))
        try:
            while True:
                page = await fetching
                if page.next_cursor is not None:
                    limit = max(1, min(self._sizes.page, _PAGE_CHARACTERS // _longest_fields(page)))
                    fetching = asyncio.create_task(self._page(send, page.next_cursor, limit))
                batches = await self._store_page(claim, page)
                if batches is None:
                    log.info("planning_taken_over", send_id=str(send.id))
                    return
                await self._doorbell.send_all(batches)
                if page.next_cursor is None:
                    break
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
        await drain_if_done(self._new_unit_of_work, send.id, self._clock)

    async def _page(self, send: Send, cursor: str | None, limit: int) -> RecipientPage:
        try:
            page = await self._campaigns.audience(send.id, cursor, limit)
        except ContentRefused as error:
            if cursor is None:
                raise _CannotSend(str(error)) from error
            raise  # some are sent already: keep trying, and let the failed job and the log tell
        await self._reinstate(send.organisation_id, page.contact_ids, page.emails)
        return page

    async def _store_page(self, claim: PlanClaim, page: RecipientPage) -> list[Batch] | None:
        send, cursor = claim.send, page.next_cursor
        async with self._new_unit_of_work() as uow:
            # Who has been erased since the page was read is counted as a recipient, but nothing of them is stored.
            page = page.without(await uow.erasures.share(send.organisation_id, page.contact_ids))
            before = await uow.sends.advance_plan(claim, planned=page.size, cursor=cursor, lease_seconds=_LEASE_SECONDS)
            if before is None:
                return None
            batches = self._batches(send, before, page.size)
            await uow.deliveries.copy(send, before + 1, page)
            # Whoever has left since campaigns has made the page.
            await uow.withdrawals.apply(send.id, before + 1)
            await uow.batches.add(batches)
            if cursor is None:
                await uow.withdrawals.forget(send.id)
                data = SendPlannedData(campaign_id=send.id, audience=before + page.size)
                await uow.publish(event(SendPlanned, send.id, send.organisation_id, data, self._clock))
        PLANNED.inc(page.size)
        return batches

    def _batches(self, send: Send, before: int, count: int) -> list[Batch]:
        """Cut deliveries `before + 1` to `before + count` into batches."""
        size = self._sizes.batch
        return [
            Batch(
                id=new_id(),
                send_id=send.id,
                organisation_id=send.organisation_id,
                number=(first - 1) // size,
                first=first,
                last=min(first + size - 1, before + count),
            )
            for first in range(before + 1, before + count + 1, size)
        ]

    async def _fail(self, send: Send, reason: str) -> None:
        async with self._new_unit_of_work() as uow:
            if await uow.sends.fail(send.id, reason):
                data = SendFailedData(campaign_id=send.id, reason=reason)
                await uow.publish(event(SendFailed, send.id, send.organisation_id, data, self._clock))
        log.warning("send_failed", send_id=str(send.id), reason=reason)


def _longest_fields(page: RecipientPage) -> int:
    return max(map(len, page.fields), default=1)
