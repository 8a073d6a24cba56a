"""Recording opens and clicks: many at once in one transaction, and in Redis while PostgreSQL is away."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import structlog

from posthorn_analytics.app.erasing import Pseudonyms
from posthorn_analytics.app.ports import ChangeSignal, HitMetrics, HitSpill, NewUnitOfWork, UnitOfWork
from posthorn_analytics.domain.recipients import Hit, HitKind, Recipient
from posthorn_analytics.domain.tallies import Tally
from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError
from posthorn_common.events import event
from posthorn_common.transient import is_transient
from posthorn_contracts.analytics.v1 import Engagement, EngagementKind, EngagementsRecorded, EngagementsRecordedData

log = structlog.get_logger(__name__)

BATCH_HITS = 500
"""Hits of one transaction, and engagements of one event."""

_WRITE_SECONDS = 5.0
_DATABASE_AWAY_SECONDS = 5.0
_SPILL_SECONDS = 2.0


class RecordingHits:
    """Writes hits to the database, with all that follows from them. Storing the same hit again changes nothing."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        pseudonyms: Pseudonyms,
        signal: ChangeSignal,
        metrics: HitMetrics,
        machine_window: timedelta,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._pseudonyms = pseudonyms
        self._signal = signal
        self._metrics = metrics
        self._machine_window = machine_window
        self._clock = clock

    async def record(self, hits: Sequence[Hit]) -> None:
        """Store hits, at most BATCH_HITS, and count them."""
        async with self._new_unit_of_work() as uow:
            erased = await self._pseudonyms.replaced(uow, {hit.contact_id for hit in hits})
            kept = [hit for hit in hits if hit.contact_id not in erased]
            recipients = await _lock_recipients(uow, kept)
            counted = _within_limits(kept, recipients)
            judged = [self._judge(hit, recipients[hit.campaign_id, hit.contact_id]) for hit in counted]
            added = await uow.engagements.add(judged)
            new = sorted((hit for hit in judged if hit.id in added), key=lambda hit: (hit.at, hit.id))
            tally = _count(new, recipients)
            changed = {(hit.campaign_id, hit.contact_id) for hit in new}
            await uow.recipients.save([recipients[key] for key in changed])
            for recorded in self._events(new):
                await uow.publish(recorded)
            await uow.counters.apply(tally)
        self._count_metrics(hits, new)
        self._signal.changed({hit.campaign_id for hit in new})

    def _judge(self, hit: Hit, recipient: Recipient) -> Hit:
        if hit.is_machine or not recipient.comes_too_soon(hit.at, self._machine_window):
            return hit
        return replace(hit, is_machine=True)

    def _events(self, hits: Iterable[Hit]) -> Iterable[EngagementsRecorded]:
        """Return events about what people did; machines are nobody else's business."""
        by_campaign: defaultdict[tuple[UUID, UUID], list[Engagement]] = defaultdict(list)
        for hit in hits:
            if not hit.is_machine:
                by_campaign[hit.organisation_id, hit.campaign_id].append(
                    Engagement(
                        contact_id=hit.contact_id,
                        kind=EngagementKind(hit.kind),
                        at=hit.at,
                        link_number=hit.link_number,
                    )
                )
        for (organisation_id, campaign_id), engagements in by_campaign.items():
            data = EngagementsRecordedData(campaign_id=campaign_id, engagements=tuple(engagements))
            yield event(EngagementsRecorded, campaign_id, organisation_id, data, self._clock)

    def _count_metrics(self, hits: Sequence[Hit], new: Sequence[Hit]) -> None:
        for hit in new:
            self._metrics.count(hit.kind, "machine" if hit.is_machine else "recorded")
        stored = {hit.id for hit in new}
        for hit in hits:
            if hit.id not in stored:
                self._metrics.count(hit.kind, "not_counted")


async def _lock_recipients(uow: UnitOfWork, hits: Sequence[Hit]) -> dict[tuple[UUID, UUID], Recipient]:
    seen = {
        (hit.campaign_id, hit.contact_id): Recipient(hit.organisation_id, hit.campaign_id, hit.contact_id)
        for hit in hits
    }
    await uow.recipients.add(list(seen.values()))
    return await uow.recipients.lock(seen)


def _within_limits(hits: Sequence[Hit], recipients: dict[tuple[UUID, UUID], Recipient]) -> list[Hit]:
    """Leave out what is more than one recipient may leave behind: a link can be followed by anybody, for ever."""
    room = {key: recipient.room for key, recipient in recipients.items()}
    kept = []
    for hit in hits:
        key = (hit.campaign_id, hit.contact_id)
        if room[key] > 0:
            room[key] -= 1
            kept.append(hit)
    return kept


def _count(hits: Iterable[Hit], recipients: dict[tuple[UUID, UUID], Recipient]) -> Tally:
    tally = Tally()
    for hit in hits:
        recipient = recipients[hit.campaign_id, hit.contact_id]
        counters = tally.of(hit.organisation_id, hit.campaign_id)
        if hit.kind is HitKind.OPEN:
            recipient.open(hit.at, counters, is_machine=hit.is_machine)
        elif hit.link_number is not None and hit.url is not None:
            counters.link_urls[hit.link_number] = hit.url
            recipient.click(hit.link_number, hit.at, counters, is_machine=hit.is_machine)
    return tally


class HitBuffer:
    """Takes hits one by one and records them many at once.

    While one transaction is being committed the hits that come wait for the next: a group commit whose groups grow
    with the load, without a delay when there is none. While the database is away hits go to the spill.
    """

    def __init__(self, recording: RecordingHits, spill: HitSpill, metrics: HitMetrics) -> None:
        self._recording = recording
        self._spill = spill
        self._metrics = metrics
        self._pending: list[tuple[Hit, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._database_away_until = 0.0

    async def add(self, hit: Hit) -> None:
        """Return when the hit is stored, or when nothing more can be done for it. Never raises: readers come first."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((hit, stored))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await stored

    async def close(self) -> None:
        """Return when everything that was added is stored, also for those who have hung up."""
        while self._flushing is not None:
            await self._flushing

    async def _flush(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending[:BATCH_HITS], self._pending[BATCH_HITS:]
                try:
                    await self._store([hit for hit, _stored in group])
                finally:
                    for _hit, stored in group:
                        if not stored.done():  # whoever has hung up does not wait any more
                            stored.set_result(None)
        finally:
            self._flushing = None

    async def _store(self, hits: list[Hit]) -> None:
        if time.monotonic() >= self._database_away_until:
            try:
                async with asyncio.timeout(_WRITE_SECONDS):
                    await self._recording.record(hits)
            except Exception as error:  # noqa: BLE001  the answer to the reader does not depend on our counting
                expected = is_transient(error)
                write = log.warning if expected else log.error
                write("hits_not_stored", hits=len(hits), error=type(error).__name__, exc_info=not expected)
                self._database_away_until = time.monotonic() + _DATABASE_AWAY_SECONDS
            else:
                return
        await self._put_aside(hits)

    async def _put_aside(self, hits: list[Hit]) -> None:
        outcome = "spilled"
        try:
            async with asyncio.timeout(_SPILL_SECONDS):
                await self._spill.put(hits)
        except (TransientError, TimeoutError) as error:
            outcome = "lost"
            log.error("hits_lost", hits=len(hits), error=type(error).__name__)  # noqa: TRY400  the reason is known
        for hit in hits:
            self._metrics.count(hit.kind, outcome)


class DrainingSpill:
    """Brings hits that were put aside into the database. One that cannot be recorded does not stop the others."""

    def __init__(self, recording: RecordingHits, spill: HitSpill, metrics: HitMetrics) -> None:
        self._recording = recording
        self._spill = spill
        self._metrics = metrics

    async def drain(self) -> int:
        """Record all hits in the spill; return how many. Two processes may do so at once: a hit counts once."""
        drained = 0
        while taken := await self._spill.take(BATCH_HITS):
            hits = {receipt: hit for receipt, hit in taken if hit is not None}
            recorded = await self._recorded(hits)
            if recorded:
                await self._spill.remove(recorded)
            await self._reject({receipt: hit for receipt, hit in taken if receipt not in set(recorded)})
            drained += len(recorded)
        if drained:
            log.info("spilled_hits_recorded", hits=drained)
        return drained

    async def _recorded(self, hits: Mapping[str, Hit]) -> list[str]:
        """Record hits, all together or else one by one; return the receipts of those that are recorded."""
        if await self._try_to_record(list(hits.values())):
            return list(hits)
        return [receipt for receipt, hit in hits.items() if await self._try_to_record([hit])]

    async def _try_to_record(self, hits: Sequence[Hit]) -> bool:
        try:
            await self._recording.record(hits)
        except Exception as error:
            if is_transient(error):
                raise
            log.exception("spilled_hits_not_recorded", hits=len(hits))
            return False
        return True

    async def _reject(self, hits: Mapping[str, Hit | None]) -> None:
        if hits:
            await self._spill.reject(list(hits))
            log.error("spilled_hits_rejected", hits=len(hits))
            for hit in hits.values():
                self._metrics.count("unknown" if hit is None else hit.kind, "rejected")
