"""A lane hands the messages of all batches in this process to one relay, over the relay's connections.

Its loop writes the ledger: each entry closes what has answered since the last and opens as many deliveries as there
are free connections. A relay that is away closes the lane for a while: its batches go back, and are not worn down.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError
from posthorn_common.events import event
from posthorn_contracts.mailer.v1 import ContactSuppressed, ContactSuppressedData
from posthorn_mailer.app.breakers import Breaker
from posthorn_mailer.app.held_batches import Halt, HeldBatch
from posthorn_mailer.app.metrics import DELIVERIES, LEASE_LOST, OPEN
from posthorn_mailer.app.pacing import Candidate, Pace, PaceParts
from posthorn_mailer.app.ports_content import CannotCompose, CompositionFailed, Recipient
from posthorn_mailer.app.ports_ledger import (
    Closing,
    Entry,
    EntryResult,
    Ledger,
    LedgerPage,
    NewSuppression,
    Opened,
    Opening,
)
from posthorn_mailer.app.ports_transport import MailTransport, Withdrawn
from posthorn_mailer.app.warm_ups import WarmUps
from posthorn_mailer.domain.deliveries import Backoff, DeliveryState, settle
from posthorn_mailer.domain.limits import has_enough
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.replies import MAX_TEXT_CHARACTERS, Attempt, classify
from posthorn_mailer.domain.sends import SendStatus

log = structlog.get_logger(__name__)

_ATTEMPT_ID_BITS = 62
_PACED_TURN_SECONDS = 2.0
_SOON_SECONDS = 60.0
_FIRST_DATABASE_PAUSE_SECONDS = 0.2
_LONGEST_DATABASE_PAUSE_SECONDS = 5.0
_UNABLE_SECONDS = 30.0
_SHORTEST_LIMIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What all lanes share. `on_late` takes closings that came after the batch had been taken over."""

    transport: MailTransport
    pace: PaceParts
    warm_ups: WarmUps
    ledger: Ledger
    backoff: Backoff
    clock: Clock
    on_late: Callable[[Closing], Awaitable[None]]


class _Turn(NamedTuple):
    """A delivery on its way: what was asked of the ledger, and for whom."""

    held: HeldBatch
    recipient: Recipient
    opening: Opening
    group: str | None


class Lane:
    """The way to one relay."""

    def __init__(self, relay: Relay, breaker: Breaker, parts: LaneParts) -> None:
        self.relay = relay
        self._parts = parts
        self._breaker = breaker
        breaker.on_open = self._close_down
        self._held: deque[HeldBatch] = deque()
        self._flying: set[asyncio.Task[None]] = set()
        self._answered: list[tuple[_Turn, Closing]] = []
        self._suppressions: list[NewSuppression] = []
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._pace = Pace(relay, parts.warm_ups, parts.pace)
        self._limited_until = 0.0

    async def send(self, held: HeldBatch, relay: Relay) -> None:
        """Send a batch; return when it is over. Cancelling this leaves its open deliveries open, as a crash does."""
        self.relay = self._pace.relay = relay
        if (seconds := self._breaker.seconds_left()) > 0:
            held.relay_away(seconds, self._breaker.notice(relay.name))
            return
        self._held.append(held)
        self._wake.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run(), name=f"lane-{relay.id}")
        over = asyncio.create_task(held.over.wait())
        try:
            await asyncio.wait((over, self._loop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        if not held.over.is_set():
            await self._loop  # it has failed: raise what it raised

    def wake(self) -> None:
        """Look again: batches were halted."""
        self._wake.set()

    async def abort(self) -> None:
        """Stop at once, as a crash would."""
        tasks = [*self._flying, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._held:  # others may come while connections are given back
                async with self._pace.kept(self._wake.set), self._parts.ledger.page() as page:
                    while self._held:
                        await self._step(page)
        except BaseException:
            # Their leases run out, and the next holder puts in doubt what was open.
            self._held.clear()
            for task in self._flying:
                task.cancel()
            raise

    async def _step(self, page: LedgerPage) -> None:
        self._wake.clear()
        self._end_turns()
        entry, turns = await self._next_entry()
        if entry.closings or entry.openings:
            result, repeated = await self._write(page, entry)
            await self._settle(entry, turns, result, repeated=repeated)
        elif all(held.has_more or held.unsettled for held in self._held):
            await self._sleep()
        self._release()

    async def _sleep(self) -> None:
        waits = [pause for pause in (self._pace.pause(), self._limited_until - time.monotonic()) if pause]
        pause = min((wait for wait in waits if wait > 0), default=None)
        if pause is None:
            await self._wake.wait()
            return
        try:
            await asyncio.wait_for(self._wake.wait(), pause)
        except TimeoutError:
            return

    async def _next_entry(self) -> tuple[Entry, list[_Turn]]:
        turns = await self._next_turns()
        answered, self._answered = self._answered, []
        suppressions, self._suppressions = self._suppressions, []
        for turn, _closing in answered:
            turn.held.unsettled -= 1
        for turn in turns:
            turn.held.unsettled += 1
        entry = Entry(
            closings=[closing for _turn, closing in answered],
            openings=[turn.opening for turn in turns],
            suppressions=suppressions,
        )
        return entry, turns

    async def _next_turns(self) -> list[_Turn]:
        """Choose recipients for the free connections, from the batches in turn."""
        connections = self._pace.connections
        free = self._breaker.width(connections) - len(self._flying) if connections else 0
        if free <= 0:
            return []
        relay = self.relay
        if relay.warm_up is None:
            return [self._turn(candidate) for candidate in await self._pace.choose(self._held, free)]
        allowed = await self._allowed(relay, free)
        turns = [self._turn(candidate) for candidate in await self._pace.choose(self._held, allowed)]
        self._parts.warm_ups.put_back(relay, allowed - len(turns))
        return turns

    async def _allowed(self, relay: Relay, wanted: int) -> int:
        """Return how many of `wanted` messages the relay's warm-up plan allows; if none today, let all batches go."""
        if time.monotonic() < self._limited_until or not any(held.has_more for held in self._held):
            return 0
        warm_ups = self._parts.warm_ups
        allowed, seconds = await warm_ups.take(relay, wanted)
        if allowed == 0 and warm_ups.used_up_for(relay) > 0:
            for held in self._held:
                held.day_used_up(seconds, warm_ups.notice(relay))
        elif allowed == 0:
            self._limited_until = time.monotonic() + max(seconds, _SHORTEST_LIMIT_SECONDS)
        return allowed

    def _turn(self, candidate: Candidate) -> _Turn:
        held, recipient, group, _buckets = candidate
        attempt_id = random.getrandbits(_ATTEMPT_ID_BITS)
        return _Turn(held, recipient, Opening(held.batch, recipient.number, attempt_id), group)

    async def _write(self, page: LedgerPage, entry: Entry) -> tuple[EntryResult, bool]:
        """Write for as long as it takes: what relays have answered must not be lost. Return whether it was repeated."""
        pause = _FIRST_DATABASE_PAUSE_SECONDS
        repeated = False
        while True:
            try:
                return await page.write(entry), repeated
            except TransientError as error:
                log.warning("ledger_away", error=str(error), pause_seconds=pause)
                await asyncio.sleep(pause)
                repeated = True
                pause = min(pause * 2, _LONGEST_DATABASE_PAUSE_SECONDS)

    async def _settle(self, entry: Entry, turns: list[_Turn], result: EntryResult, *, repeated: bool) -> None:
        # By attempt: of two who want the same delivery, one at most has opened it.
        opened = {one.attempt_id: one for one in result.opened}
        OPEN.inc(len(opened))
        for turn in turns:
            one = opened.get(turn.opening.attempt_id)
            if one is not None:
                self._take_off(turn, one)
            else:
                self._settle_refused(turn, result, repeated=repeated)
        for closing in entry.closings:
            if closing.attempt_id not in result.closed:
                LEASE_LOST.inc(0 if repeated else 1)
                await self._parts.on_late(closing)

    def _take_off(self, turn: _Turn, opened: Opened) -> None:
        task = asyncio.create_task(self._hand_over(turn, opened))
        self._flying.add(task)
        self._pace.took_off(turn.group)
        task.add_done_callback(self._flying.discard)

    def _settle_refused(self, turn: _Turn, result: EntryResult, *, repeated: bool) -> None:
        held, opening = turn.held, turn.opening
        if repeated:
            # The first write may have opened it before the answer was lost; nothing was said to the relay yet.
            self._answered.append((turn, _closing(turn, DeliveryState.PENDING, counted=False)))
            self._wake.set()
        else:
            held.unsettled -= 1
        if self.relay.warm_up is not None:
            self._parts.warm_ups.put_back(self.relay, 1)
        if opening.attempt_id in result.suppressed:
            held.unreported = True
            DELIVERIES.labels(DeliveryState.SUPPRESSED).inc()
            return
        status = result.statuses.get((opening.batch.id, opening.batch.lease_epoch))
        if status is None:
            held.halt_for(Halt.LEASE_LOST)
        elif status is not SendStatus.SENDING:
            held.halt_for(Halt.NOT_SENDING)

    async def _hand_over(self, turn: _Turn, opened: Opened) -> None:
        try:
            closing = await self._attempt(turn, opened)
        finally:
            OPEN.dec()
            self._pace.landed(turn.group)
        DELIVERIES.labels(closing.state).inc()
        turn.held.unreported = True
        self._answered.append((turn, closing))
        # At once, not when the task is done: the next entry counts free connections.
        task = asyncio.current_task()
        if task is not None:
            self._flying.discard(task)
        self._wake.set()

    async def _attempt(self, turn: _Turn, opened: Opened) -> Closing:
        try:
            message = await turn.held.letter.compose(turn.recipient, opened.first_opened_at)
        except CompositionFailed as error:
            return _closing(turn, DeliveryState.FAILED, cause="content", reply=str(error)[:MAX_TEXT_CHARACTERS])
        except CannotCompose as error:
            turn.held.resume_in_seconds = _UNABLE_SECONDS
            turn.held.halt_for(Halt.UNABLE)
            turn.held.outage = str(error)
            return _closing(turn, DeliveryState.PENDING, counted=False)
        except Exception as error:  # noqa: BLE001  a defect: this message fails, the others go on
            # Only the kind: the text may quote the contact.
            log.error(  # noqa: TRY400
                "composition_broke", send_id=str(turn.opening.batch.send_id), error=type(error).__name__
            )
            return _closing(turn, DeliveryState.FAILED, cause="content", reply="The message could not be made.")
        try:
            # Whoever has leased the batch after us has put this delivery in doubt, and somebody may have decided about
            # it: a process that was frozen must not go on as if no time had passed.
            attempt = await self._parts.transport.send(self.relay, message, turn.held.lease.holds)
            return self._judge(turn, opened, attempt)
        except Withdrawn:
            log.warning("handover_withdrawn", batch_id=str(turn.held.batch.id))
            turn.held.halt_for(Halt.LEASE_LOST)
            return _closing(turn, DeliveryState.PENDING, counted=False)
        except Exception:
            # The transport promises not to raise; what it had said to the relay by then is unknown.
            log.exception("transport_broke", relay_id=str(self.relay.id))
            return _closing(turn, DeliveryState.AMBIGUOUS, cause="relay", reply="The attempt ended without a result.")

    def _judge(self, turn: _Turn, opened: Opened, attempt: Attempt) -> Closing:
        verdict = classify(attempt)
        settlement = settle(
            attempt.stage,
            verdict,
            attempts=opened.attempts,
            expires_in_seconds=opened.expires_in_seconds,
            backoff=self._parts.backoff,
            draw=random.random,
        )
        self._breaker.note(attempt, verdict)
        if settlement.state is DeliveryState.SENT:
            turn.held.got_through = True
            self._pace.got_through(turn.recipient.email)
        elif (who := has_enough(attempt, verdict)) is not None:
            self._pace.slow_down(turn.recipient.email if who == "domain" else None)
        if verdict.suppress:
            self._suppressions.append(self._suppression(turn))
        return _closing(
            turn,
            settlement.state,
            counted=settlement.counted,
            delay_seconds=settlement.delay_seconds,
            smtp_code=attempt.code,
            enhanced_code=attempt.enhanced,
            reply=attempt.text,
            cause=verdict.cause,
        )

    def _close_down(self) -> None:
        """Let all batches go until the relay may be tried again."""
        seconds, notice = self._breaker.seconds_left(), self._breaker.notice(self.relay.name)
        for held in self._held:
            held.relay_away(seconds, notice)
        self._wake.set()

    def _suppression(self, turn: _Turn) -> NewSuppression:
        batch, contact_id = turn.held.batch, turn.recipient.contact_id
        data = ContactSuppressedData(contact_id=contact_id, reason="hard_bounce")
        told = event(ContactSuppressed, contact_id, batch.organisation_id, data, self._parts.clock)
        return NewSuppression(batch.organisation_id, contact_id, turn.recipient.email, told)

    def _end_turns(self) -> None:
        """Let batches go whose turn is over."""
        now = time.monotonic()
        for held in self._held:
            if held.halt is not None:
                continue
            closed = self._pace.seconds_closed(held)
            if closed is not None:
                # If that is soon, not at once: all batches of a campaign may be of this kind, and each costs more to
                # lease than to hold.
                kept = _PACED_TURN_SECONDS if closed < _SOON_SECONDS else 0.0
                held.turn_ends_at = min(held.turn_ends_at, now + kept)
            if now >= held.turn_ends_at:
                held.resume_in_seconds = closed or 0.0
                held.outage = held.outage if closed is None else self._pace.day_notice(held)
                held.halt_for(Halt.TURN_OVER if closed is None else Halt.PACED)

    def _release(self) -> None:
        """Let batches go that are over."""
        for held in [held for held in self._held if held.unsettled == 0 and not held.has_more]:
            self._held.remove(held)
            held.over.set()


def _closing(
    turn: _Turn,
    state: DeliveryState,
    *,
    counted: bool = True,
    delay_seconds: float | None = None,
    smtp_code: int | None = None,
    enhanced_code: str | None = None,
    reply: str | None = None,
    cause: str | None = None,
) -> Closing:
    batch, number, attempt_id = turn.opening
    return Closing(batch, number, attempt_id, state, counted, delay_seconds, smtp_code, enhanced_code, reply, cause)
