"""A worker: leases batches, has their messages handed over, tells what became of them, and gives them back."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_common.loops import run_every, stops_within
from posthorn_common.transient import is_transient
from posthorn_contracts.mailer.v1 import SendImpeded, SendImpededData
from posthorn_mailer.app.doorbell import Doorbell
from posthorn_mailer.app.held_batches import BlankLetter, Halt, HeldBatch
from posthorn_mailer.app.lanes import Lane
from posthorn_mailer.app.leases import Lease, Uptime
from posthorn_mailer.app.metrics import BATCHES, HELD, LEASE_LOST
from posthorn_mailer.app.ports_content import CannotCompose, CompositionFailed, Letter, Printer, Recipient
from posthorn_mailer.app.ports_domains import SigningKeys
from posthorn_mailer.app.ports_ledger import Closing
from posthorn_mailer.app.ports_sends import Batch, NewSendingUnitOfWork, SendingUnitOfWork, Tally
from posthorn_mailer.app.reporting import drain_if_done, report, report_recovery
from posthorn_mailer.app.routes import Route, Routes
from posthorn_mailer.app.signing import SignedLetter
from posthorn_mailer.domain.deliveries import DeliveryState
from posthorn_mailer.domain.errors import RelayNotFound
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.sends import Send, SendStatus

log = structlog.get_logger(__name__)

_LETTERS_KEPT = 32
_WITHOUT_RELAY_SECONDS = 30.0
_RETRY_SECONDS = 0.5
_BY_THE_RELAY = frozenset({Halt.RELAY_AWAY, Halt.DAY_USED_UP})


@dataclass(frozen=True, slots=True)
class WorkerPolicy:
    """How a worker goes about it."""

    owner: str
    batches: int
    lease_seconds: float
    report_seconds: float


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A batch that was leased, with what is needed to send it."""

    batch: Batch
    lease: Lease
    send: Send
    letter: Letter | None
    content: str | None
    recipients: list[Recipient]


class SendingBatches:
    """The use cases of a worker process."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewSendingUnitOfWork,
        routes: Routes,
        printer: Printer,
        signing_keys: SigningKeys,
        doorbell: Doorbell,
        policy: WorkerPolicy,
        clock: Clock,
        uptime: Uptime,
        new_lane: Callable[[Relay, SendingBatches], Lane],
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._routes = routes
        self._printer = printer
        self._signing_keys = signing_keys
        self._doorbell = doorbell
        self._policy = policy
        self._clock = clock
        self._uptime = uptime
        self._new_lane = new_lane
        self._lanes: dict[UUID, Lane] = {}
        self._letters: OrderedDict[UUID, Letter] = OrderedDict()
        self._held: set[HeldBatch] = set()
        self._slots = asyncio.Semaphore(policy.batches)
        self._at_work = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    async def send_batch(self, batch_id: UUID | None = None) -> bool:
        """Lease this batch, or any that is due, and send what can be sent of it; return whether there was one."""
        async with self._slots:
            if self._stopping:
                return False
            self._at_work += 1
            self._idle.clear()
            try:
                claimed = await self._claim(batch_id)
                if claimed is not None:
                    await self._send(claimed)
            finally:
                self._at_work -= 1
                if self._at_work == 0:
                    self._idle.set()
            return claimed is not None

    @property
    def idle(self) -> bool:
        """Whether no batch is at work."""
        return self._at_work == 0

    async def send_all_due(self) -> None:
        """Send whatever is due, without being told what: for when no bell can be heard."""

        async def send_on() -> None:
            while await self.send_batch():
                pass

        results = await asyncio.gather(*(send_on() for _ in range(self._policy.batches)), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def look_after(self, stop: asyncio.Event) -> None:
        """Keep leases and report outcomes, until `stop` is set and every batch is given back."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_leases(over))
            tasks.create_task(
                run_every(self._policy.report_seconds, self.report_outcomes, stop=over, name="report_outcomes")
            )
            await stop.wait()
            self.stop()
            await self._idle.wait()
            over.set()

    def stop(self) -> None:
        """Open nothing more; what is open is finished, and the batches go back."""
        self._stopping = True
        for held in self._held:
            held.halt_for(Halt.STOPPING)
        self._wake_lanes()

    async def abort(self) -> None:
        """Stop at once, as a crash would: what is open stays open."""
        await asyncio.gather(*(lane.abort() for lane in self._lanes.values()))

    async def report_outcomes(self) -> None:
        """Report what the held batches have come to since the last time."""
        for held in list(self._held):
            if held.unreported:
                held.unreported = False
                async with self._new_unit_of_work() as uow:
                    await self._report_passage(uow, held)
                    await report(uow, held.batch, self._clock)

    async def renew_leases(self) -> None:
        """Renew the leases of all held batches; stop opening deliveries of those that are lost."""
        asked = list(self._held)
        if not asked:
            return
        ends_at = self._uptime() + self._policy.lease_seconds
        async with self._new_unit_of_work() as uow:
            kept = await uow.batches.renew([held.batch for held in asked], self._policy.lease_seconds)
        for held in asked:
            if (held.batch.id, held.batch.lease_epoch) in kept:
                held.lease.ends_at = ends_at
            elif not held.closing:
                LEASE_LOST.inc()
                log.warning("lease_lost", batch_id=str(held.batch.id))
                held.lease.end()
                held.halt_for(Halt.LEASE_LOST)
        self._wake_lanes()

    async def return_late(self, closing: Closing) -> None:
        """Take an answer that came when the batch was no longer ours.

        What the relay has said for good about a delivery counts then too, and is stored already. Certain non-delivery
        makes a delivery pending that was put in doubt meanwhile.
        """
        if closing.state not in {DeliveryState.PENDING, DeliveryState.DEFERRED}:
            return
        send_id = closing.batch.send_id
        while True:
            try:
                async with self._new_unit_of_work() as uow:
                    # Whoever changes a send's deliveries from outside its batches locks the send first.
                    await uow.sends.lock(send_id)
                    await uow.batches.lock_holding(send_id, closing.number)
                    if await uow.deliveries.return_late(send_id, closing.number, closing.attempt_id):
                        await uow.sends.reopen(send_id)
                        await uow.batches.reopen_holding(send_id, closing.number)
            except Exception as error:
                if not is_transient(error):
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _claim(self, batch_id: UUID | None) -> _Claimed | None:
        lease = Lease(self._uptime, self._uptime() + self._policy.lease_seconds)
        async with self._new_unit_of_work() as uow:
            batch = await uow.batches.claim(
                batch_id, owner=self._policy.owner, lease_seconds=self._policy.lease_seconds
            )
            if batch is None:
                return None
            doubtful = await uow.deliveries.relabel(batch) if batch.lease_epoch > 1 else 0
            if doubtful:
                log.warning("deliveries_in_doubt", batch_id=str(batch.id), count=doubtful)
            await report(uow, batch, self._clock)
            send = await uow.sends.get(batch.organisation_id, batch.send_id)
            letter = self._letters.get(send.id)
            sending = send.status is SendStatus.SENDING
            recipients = await uow.deliveries.recipients(batch) if sending else []
            content = await uow.sends.content(send.id) if recipients and letter is None else None
        return _Claimed(batch, lease, send, letter, content, recipients)

    async def _send(self, claimed: _Claimed) -> None:
        try:
            letter = await self._signed_letter(claimed) if claimed.recipients else BlankLetter()
            route = await self._route(claimed) if claimed.recipients else None
        except (CompositionFailed, CannotCompose) as error:
            await self._give_back(claimed, str(error))
            return
        except RelayNotFound:
            await self._give_back(claimed, "The relay that the campaign is sent through does not exist any more.")
            return
        held = HeldBatch(
            claimed.batch, claimed.lease, letter, deque(claimed.recipients), claimed.send.messages_per_second
        )
        if claimed.send.status is not SendStatus.SENDING:
            held.halt_for(Halt.NOT_SENDING)
        self._held.add(held)
        HELD.set(len(self._held))
        try:
            if self._stopping:
                held.halt_for(Halt.STOPPING)
            if route is not None:
                await self._send_by(route, held)
            await self._finish(held)
        finally:
            self._held.discard(held)
            HELD.set(len(self._held))

    async def _route(self, claimed: _Claimed) -> Route:
        """Raises RelayNotFound."""
        send, batch = claimed.send, claimed.batch
        return await self._routes.for_batch(send.organisation_id, send.relay_id, send.id, batch.number)

    async def _send_by(self, route: Route, held: HeldBatch) -> None:
        try:
            if route.seconds > 0:
                held.relay_away(route.seconds, self._routes.notice(route))
            elif held.has_more:
                await self._lane(route.relay).send(held, route.relay)
                if held.halt in _BY_THE_RELAY and self._routes.has_other(route):
                    held.relay_away(0.0, None)
        finally:
            self._routes.leave(route)
        # Whoever takes the batch next is to know what this process has found out, and may use what it has not.
        await self._routes.told(route)

    def _lane(self, relay: Relay) -> Lane:
        lane = self._lanes.get(relay.id)
        if lane is None:
            lane = self._lanes[relay.id] = self._new_lane(relay, self)
        return lane

    async def _signed_letter(self, claimed: _Claimed) -> Letter:
        """Return the campaign's letter, signed with the keys that sign now. Raises as `_letter`."""
        letter = await self._letter(claimed)
        return SignedLetter(letter, await self._signing_keys.of(claimed.send.organisation_id))

    async def _letter(self, claimed: _Claimed) -> Letter:
        """Return the campaign's letter, made once per process. Raises CompositionFailed, CannotCompose."""
        if claimed.letter is not None:
            return claimed.letter
        if claimed.content is None:
            raise CompositionFailed("The campaign has no content.")
        letter = await self._printer.letter(claimed.content)
        # Another batch of the campaign may have had it made meanwhile.
        letter = self._letters.setdefault(claimed.send.id, letter)
        while len(self._letters) > _LETTERS_KEPT:
            self._letters.popitem(last=False)
        return letter

    async def _give_back(self, claimed: _Claimed, problem: str) -> None:
        """Return a batch that cannot be sent at present, and say why."""
        held = HeldBatch(claimed.batch, claimed.lease, BlankLetter(), deque())
        held.relay_away(_WITHOUT_RELAY_SECONDS, problem)
        await self._finish(held)

    async def _finish(self, held: HeldBatch) -> None:
        """End the lease in one transaction with the last report; then see whether the send is drained."""
        batch = held.batch
        held.closing = True
        async with self._new_unit_of_work() as uow:
            # Sends are locked before batches, and batches before deliveries: here as everywhere.
            await self._report_passage(uow, held)
            if held.outage is not None:
                await self._report_outage(uow, batch, held.outage)
            if not await uow.batches.lock_held(batch):
                LEASE_LOST.inc()
                BATCHES.labels(Halt.LEASE_LOST).inc()
                log.warning("lease_lost", batch_id=str(batch.id))
                return
            # In this order: what is erased or answered in between is told here, or is work for the next holder.
            tally = await uow.deliveries.tally(batch)
            await report(uow, batch, self._clock)
            pause = None if tally.done else _pause_seconds(held, tally)
            await uow.batches.close(batch.id, counts=tally.counts, done=tally.done, not_before_seconds=pause)
        BATCHES.labels("done" if tally.done else held.halt or "deferred").inc()
        await self._follow_up(batch, held, pause)

    async def _follow_up(self, batch: Batch, held: HeldBatch, pause: float | None) -> None:
        if pause is None:
            await drain_if_done(self._new_unit_of_work, batch.send_id, self._clock)
            return
        if held.halt is Halt.NOT_SENDING:
            await self._doorbell.sweep(batch.send_id)
        await self._doorbell.send(batch, delay_seconds=pause)

    async def _report_passage(self, uow: SendingUnitOfWork, held: HeldBatch) -> None:
        if held.got_through:
            held.got_through = False
            await report_recovery(uow, held.batch, self._clock)

    async def _report_outage(self, uow: SendingUnitOfWork, batch: Batch, reason: str) -> None:
        since = await uow.sends.impede(batch.send_id, reason)
        if since is not None:
            data = SendImpededData(campaign_id=batch.send_id, reason=reason, since=since)
            await uow.publish(event(SendImpeded, batch.send_id, batch.organisation_id, data, self._clock))

    async def _keep_leases(self, over: asyncio.Event) -> None:
        """As often as it takes: a failure must not lengthen the pause, as the lease goes on running out."""
        while not await stops_within(over, self._policy.lease_seconds / 3):
            try:
                await self.renew_leases()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("leases_not_renewed", error=type(error).__name__)

    def _wake_lanes(self) -> None:
        for lane in self._lanes.values():
            lane.wake()


def _pause_seconds(held: HeldBatch, tally: Tally) -> float:
    """Return in how many seconds the batch may be claimed again."""
    if held.halt in _BY_THE_RELAY or held.halt in {Halt.UNABLE, Halt.PACED}:
        return held.resume_in_seconds
    if tally.counts.keys() & {DeliveryState.PENDING, DeliveryState.SENDING}:
        return 0.0
    return max(tally.next_attempt_in_seconds or 0.0, 0.0)
