"""The pace of one relay in this process: how many connections it may use, and who may be mailed now."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from posthorn_common.addresses import domain_of
from posthorn_common.transient import is_transient
from posthorn_mailer.app.held_batches import HeldBatch
from posthorn_mailer.app.ports_content import Recipient
from posthorn_mailer.app.ports_pace import LimitsSource, Operators, Share, SharedPace
from posthorn_mailer.app.ports_transport import MailTransport
from posthorn_mailer.app.warm_ups import WarmUps
from posthorn_mailer.domain.limits import (
    ALL_OF_RELAY,
    NO_LIMITS,
    Bucket,
    Demand,
    campaign_bucket,
    domain_bucket,
    everybodys_buckets,
    slowed_bucket,
    slower,
)
from posthorn_mailer.domain.relays import Relay, for_campaigns

log = structlog.get_logger(__name__)

_REFRESH_SECONDS = 1.0
_OBSERVED_SECONDS = 10.0
_CLOSING_SECONDS = 1.0
_CLOSING_LOOK_SECONDS = 0.01
# What this process has slowed down holds for so long, also if nobody else can be told.
_REMEMBERED_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PaceParts:
    """What the paces of all relays share. `worker` names this process among all."""

    shared: SharedPace
    limits: LimitsSource
    operators: Operators
    transport: MailTransport
    worker: str


class Candidate(NamedTuple):
    """A recipient who may be next; `group` is None where nothing depends on the recipient's domain."""

    held: HeldBatch
    recipient: Recipient
    group: str | None
    buckets: tuple[Bucket, ...]


class _Slowed(NamedTuple):
    rate: float
    until: float


class Pace:
    """Chooses who is next. What is not limited costs nothing: no lookup, no question to anybody."""

    def __init__(self, relay: Relay, warm_ups: WarmUps, parts: PaceParts) -> None:
        self.relay = relay
        self._warm_ups = warm_ups
        self._parts = parts
        self._limits = NO_LIMITS
        self._share = Share(0, 1, {})
        self._slowed: dict[str, float] = {}
        self._own_slowed: dict[str, _Slowed] = {}
        self._to_tell: dict[str, float] = {}
        self._blocked: dict[str, float] = {}
        self._in_flight: Counter[str] = Counter()
        self._observed = _Observed()

    @contextlib.asynccontextmanager
    async def kept(self, on_change: Callable[[], None]) -> AsyncGenerator[None]:
        """Hold a part of the relay's connections and look at the limits every second, while the block runs."""
        await self._refresh_if_possible()
        keeping = asyncio.create_task(self._keep(on_change), name=f"pace-{self.relay.id}")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._close_connections()
            await self._parts.shared.leave(self.relay.id, self._parts.worker)
            self._parts.transport.resize(self.relay, self.relay.max_connections)

    @property
    def connections(self) -> int:
        """How many messages of campaigns may be under way."""
        return self._share.connections

    async def refresh(self) -> None:
        """Learn the limits of now, tell others who has been slowed down, and take a part of the connections."""
        relay, shared = self.relay, self._parts.shared
        self._observed.turn(_OBSERVED_SECONDS)
        to_tell, self._to_tell = self._to_tell, {}
        for group, rate in to_tell.items():
            await shared.slow_down(relay.id, group, observed_rate=rate * self._share.workers)
        self._limits = await self._parts.limits.of(relay.organisation_id)
        is_open = self._resize(self._share.connections)
        self._share = await shared.share(
            relay.id, self._parts.worker, maximum=for_campaigns(relay.max_connections), open_connections=is_open
        )
        self._resize(self._share.connections)
        self._merge_slowed()
        now = time.monotonic()
        self._blocked = {key: until for key, until in self._blocked.items() if until > now}

    async def choose(self, held_batches: deque[HeldBatch], free: int) -> list[Candidate]:
        """Take out of the batches, in turn, at most `free` recipients who may be mailed now."""
        if self._is_free and all(held.rate is None for held in held_batches):
            return self._candidates(held_batches, free)
        in_turn = list(held_batches)
        # Whoever is refused blocks a bucket, so that others are looked at next.
        chosen: list[Candidate] = []
        while not chosen and (candidates := self._candidates(held_batches, free)):
            chosen = await self._within_day(await self._granted(candidates))
        _put_served_last(held_batches, in_turn, chosen)
        return chosen

    async def _granted(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return those for whom all their buckets have a token; put the others back."""
        together: dict[tuple[Bucket, ...], list[Candidate]] = {}
        for candidate in candidates:
            together.setdefault(candidate.buckets, []).append(candidate)
        demands = [Demand(buckets, len(alike)) for buckets, alike in together.items()]
        grants = await self._parts.shared.reserve(demands)
        chosen: list[Candidate] = []
        for alike, grant in zip(together.values(), grants, strict=True):
            # Some may have been halted while Redis was asked.
            chosen += [one for one in alike[: grant.granted] if one.held.halt is None]
            for one in reversed(alike[grant.granted :]):
                one.held.put_back(one.recipient, one.group)
            if grant.refused_by is not None:
                self._blocked[grant.refused_by] = time.monotonic() + grant.seconds
        return chosen

    async def _within_day(self, chosen: list[Candidate]) -> list[Candidate]:
        """Return those whose domains the relay's warm-up plan still allows mail to today; put the others back."""
        if not self._is_warmed_by_domain or not chosen:
            return chosen
        together: dict[str, list[Candidate]] = {}
        for candidate in chosen:
            group = candidate.group or self._group(candidate.recipient)
            together.setdefault(group, []).append(candidate)
        wanted = {group: len(alike) for group, alike in together.items()}
        allowed, seconds = await self._warm_ups.take_by_domain(self.relay, wanted)
        within: list[Candidate] = []
        for group, alike in together.items():
            count = allowed.get(group, 0)
            # Some may have been halted while the database was asked.
            within += [one for one in alike[:count] if one.held.halt is None]
            for one in reversed(alike[count:]):
                one.held.put_back(one.recipient, one.group)
            if count < len(alike):
                self._blocked[_day_of(group)] = time.monotonic() + seconds
        return within

    def took_off(self, group: str | None) -> None:
        """Note that a message is under way."""
        if group is not None:
            self._in_flight[group] += 1

    def landed(self, group: str | None) -> None:
        """Note that it has been answered."""
        if group is not None:
            self._in_flight[group] -= 1

    def got_through(self, email: str) -> None:
        """Note that the relay has taken a message."""
        self._observed.counts[domain_of(email)] += 1

    def slow_down(self, email: str | None) -> None:
        """Send more slowly to whoever has this address, or through the relay at all; others hear of it in a second."""
        group = ALL_OF_RELAY if email is None else self._parts.operators.group(domain_of(email))
        rate = self._observed.rate(lambda domain: email is None or self._parts.operators.group(domain) == group)
        self._to_tell.setdefault(group, rate)
        if group not in self._own_slowed:
            slowed_to = slower(self._slowed.get(group), rate)
            self._own_slowed[group] = _Slowed(slowed_to, time.monotonic() + _REMEMBERED_SECONDS)
            self._merge_slowed()

    def seconds_closed(self, held: HeldBatch) -> float | None:
        """Return after how long somebody of the batch may be mailed; None while it has more than closed groups."""
        if held.waiting or not held.set_aside:
            return None
        now = time.monotonic()
        ends = (max(self._blocked.get(key, now) for key in self._group_keys(group)) for group in held.set_aside)
        return min(ends) - now

    def day_notice(self, held: HeldBatch) -> str | None:
        """Return what to tell people of a batch that waits for the next day of the relay's warm-up plan; else None."""
        now = time.monotonic()
        if any(self._blocked.get(_day_of(group), now) > now for group in held.set_aside):
            return self._warm_ups.notice_of_domains(self.relay)
        return None

    def pause(self) -> float | None:
        """Return when to look again although nothing has happened, in seconds; None: no need to."""
        now = time.monotonic()
        waits = [until - now for until in self._blocked.values() if until > now]
        return min(waits, default=None)

    async def _close_connections(self) -> None:
        """Close what is open, before others may open as many; single messages open some again afterwards."""
        ends_at = time.monotonic() + _CLOSING_SECONDS
        while self._parts.transport.resize(self.relay, 0) > 0 and time.monotonic() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(_CLOSING_LOOK_SECONDS)

    def _resize(self, connections: int) -> int:
        """Use so many connections for campaigns, and one for single messages where it is to spare or the only one."""
        relay = self.relay
        spare = relay.max_connections - for_campaigns(relay.max_connections)
        return max(self._parts.transport.resize(relay, max(connections + spare, 1)) - spare, 0)

    @property
    def _is_free(self) -> bool:
        limited = self.relay.messages_per_second or self._limits.messages_per_second or self._by_domain
        return not limited and ALL_OF_RELAY not in self._slowed

    @property
    def _by_domain(self) -> bool:
        return bool(self._limits.domains) or bool(self._slowed.keys() - {ALL_OF_RELAY}) or self._is_warmed_by_domain

    @property
    def _is_warmed_by_domain(self) -> bool:
        return self.relay.warm_up is not None and self.relay.warm_up.first_day_per_domain is not None

    def _candidates(self, held_batches: deque[HeldBatch], free: int) -> list[Candidate]:
        found: list[Candidate] = []
        planned: Counter[str] = Counter()
        by_domain, idle = self._by_domain, 0
        while len(found) < free and idle < len(held_batches):
            held = held_batches.popleft()
            held_batches.append(held)  # whoever was served goes to the end
            candidate = self._next_of(held, planned, by_domain=by_domain) if held.has_more else None
            if candidate is None:
                idle += 1
            else:
                idle = 0
                found.append(candidate)
        return found

    def _next_of(self, held: HeldBatch, planned: Counter[str], *, by_domain: bool) -> Candidate | None:
        buckets = self._shared_buckets(held)
        if buckets and self._is_blocked(buckets):
            return None
        if not by_domain:
            return Candidate(held, held.take(), None, buckets)
        for group in list(held.set_aside):
            if self._is_open(group, planned):
                return self._planned(held, held.take_aside(group), group, buckets, planned)
        while held.waiting:
            recipient = held.waiting.popleft()
            group = self._group(recipient)
            if self._is_open(group, planned):
                return self._planned(held, recipient, group, buckets, planned)
            held.set_aside.setdefault(group, deque()).append(recipient)
        return None

    def _planned(
        self, held: HeldBatch, recipient: Recipient, group: str, buckets: tuple[Bucket, ...], planned: Counter[str]
    ) -> Candidate:
        planned[group] += 1
        return Candidate(held, recipient, group, (*buckets, *self._group_buckets(group)))

    def _shared_buckets(self, held: HeldBatch) -> tuple[Bucket, ...]:
        """Return the buckets of everybody in the batch."""
        found = list(everybodys_buckets(self.relay, self._limits))
        if (rate := self._slowed.get(ALL_OF_RELAY)) is not None:
            found.append(slowed_bucket(self.relay.id, ALL_OF_RELAY, rate))
        if held.rate is not None:
            found.append(campaign_bucket(held.batch.send_id, held.rate))
        return tuple(found)

    def _group_buckets(self, group: str) -> tuple[Bucket, ...]:
        found = []
        rule = self._limits.domains.get(group)
        if rule is not None and rule.messages_per_second is not None:
            found.append(domain_bucket(self.relay.organisation_id, group, rule.messages_per_second))
        if (rate := self._slowed.get(group)) is not None:
            found.append(slowed_bucket(self.relay.id, group, rate))
        return tuple(found)

    def _is_blocked(self, buckets: tuple[Bucket, ...]) -> bool:
        now = time.monotonic()
        return any(self._blocked.get(bucket.key, now) > now for bucket in buckets)

    def _group(self, recipient: Recipient) -> str:
        return self._parts.operators.group(domain_of(recipient.email))

    def _is_open(self, group: str, planned: Counter[str]) -> bool:
        rule = self._limits.domains.get(group)
        if rule is not None and rule.max_connections is not None:
            part = max(rule.max_connections // self._share.workers, 1)
            if self._in_flight[group] + planned[group] >= part:
                return False
        now = time.monotonic()
        return all(self._blocked.get(key, 0.0) <= now for key in self._group_keys(group))

    def _group_keys(self, group: str) -> list[str]:
        """Return what may be closed for a group: its buckets, and its day."""
        return [_day_of(group), *(bucket.key for bucket in self._group_buckets(group))]

    def _merge_slowed(self) -> None:
        now = time.monotonic()
        self._own_slowed = {group: one for group, one in self._own_slowed.items() if one.until > now}
        self._slowed = {group: one.rate for group, one in self._own_slowed.items()} | dict(self._share.slowed)

    async def _keep(self, on_change: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self._refresh_if_possible()
            except Exception:  # a defect of ours; sending goes on by what was known
                log.exception("limits_not_refreshed", relay_id=str(self.relay.id))
            on_change()

    async def _refresh_if_possible(self) -> None:
        """Go by what was known while the database does not answer; who has no connections yet waits for some."""
        try:
            await self.refresh()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("limits_not_refreshed", relay_id=str(self.relay.id), error=type(error).__name__)


def _day_of(group: str) -> str:
    return f"day:{group}"


def _put_served_last(held_batches: deque[HeldBatch], in_turn: Sequence[HeldBatch], chosen: Sequence[Candidate]) -> None:
    """Put batches in the order of their next turn: those that were looked at and got nothing keep their place."""
    places = {held: place for place, held in enumerate(in_turn)}
    served = {one.held: place for place, one in enumerate(chosen)}
    ordered = sorted(held_batches, key=lambda held: (served.get(held, -1), places.get(held, len(places))))
    held_batches.clear()
    held_batches.extend(ordered)


class _Observed:
    """How fast mail gets through to each domain, over the last ten seconds or so."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._since = time.monotonic()
        self._before: Counter[str] = Counter()
        self._before_seconds = 0.0

    def turn(self, seconds: float) -> None:
        """Begin to count anew after so many seconds; the last count is kept beside."""
        elapsed = time.monotonic() - self._since
        if elapsed >= seconds:
            self._before, self._before_seconds = self.counts, elapsed
            self.counts, self._since = Counter(), time.monotonic()

    def rate(self, belongs: Callable[[str], bool]) -> float:
        """Return messages per second to the domains that belong."""
        seconds = self._before_seconds + time.monotonic() - self._since
        total = sum(self.counts[domain] for domain in self.counts if belongs(domain))
        total += sum(self._before[domain] for domain in self._before if belongs(domain))
        return total / max(seconds, 1.0)
