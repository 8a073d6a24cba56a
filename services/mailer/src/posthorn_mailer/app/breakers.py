"""Circuit breakers: a relay that one process has found dead is left alone by all, then tried by one with one message.

Each process also keeps what it knows by itself, which is all there is while Redis is away, and what an emptied Redis is
taught. Nothing here decides about deliveries: a breaker that is wrong costs a connection or a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import structlog

from posthorn_mailer.app.metrics import BREAKERS_OPEN, BREAKERS_TURNED
from posthorn_mailer.app.outages import Outage, OutagePauses
from posthorn_mailer.app.ports_breakers import Known, SharedBreakers
from posthorn_mailer.domain.replies import Attempt, Verdict

log = structlog.get_logger(__name__)

# How long those who wait for somebody else's probe wait at most before they ask again.
_LONGEST_LOOK_SECONDS = 10.0


class Admission:
    """The answer to who wants to use a relay: `seconds` is 0 for yes, or until it is worth asking again."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Breaker:
    """Whether one relay can be used, as this process sees it."""

    def __init__(self, relay_id: UUID, *, by: str, pauses: OutagePauses, shared: SharedBreakers) -> None:
        self.relay_id = relay_id
        self._by = by
        self._shared = shared
        self._outage = Outage(pauses)
        self._probers: set[Admission] = set()
        self._prober: str | None = None
        self._telling: asyncio.Task[None] | None = None
        self.on_open: Callable[[], None] = lambda: None

    async def admit(self, who: str) -> Admission:
        """Ask to use the relay; give the answer back by `leave`.

        After an outage one user of one process is admitted, however often it asks, until it is known how that went.
        """
        await self.told()
        known = await self._shared.ask(self.relay_id, self._by, self._own())
        if known is not None:
            self._learn(known)
        if (seconds := self._outage.seconds_left()) > 0:
            return Admission(seconds)
        if self._outage.failures == 0:
            return Admission(0.0)
        if self._prober not in {None, who}:
            return Admission(self._until_next_look())
        admission = Admission(0.0)
        self._prober = who
        self._probers.add(admission)
        return admission

    def leave(self, admission: Admission) -> None:
        """Give an admission back; if nothing came of the probe, somebody else may try."""
        if admission not in self._probers:
            return
        self._probers.discard(admission)
        if not self._probers:
            self._prober = None
            self._tell(self._shared.leave(self.relay_id, self._by))

    def note(self, attempt: Attempt, verdict: Verdict) -> bool:
        """Take an attempt into account; return whether the relay must be left alone from now on."""
        failures = self._outage.failures
        if self._outage.note(attempt, verdict):
            self._decided()
            BREAKERS_TURNED.labels("open").inc()
            log.warning(
                "relay_away",
                relay_id=str(self.relay_id),
                stage=attempt.stage,
                code=attempt.code,
                pause_seconds=self.seconds_left(),
            )
            self._tell(self._tell_failure(self._own()))
            self.on_open()
            return True
        if failures and self._outage.failures == 0:
            self._decided()
            BREAKERS_TURNED.labels("closed").inc()
            self._tell(self._shared.close(self.relay_id, self._by))
        return False

    def learn(self, known: Known) -> None:
        """Take over what the others know, in the middle of work."""
        if self._probers or (self._telling is not None and not self._telling.done()):
            return  # it is older than what this process does
        was_in_use = self._outage.failures == 0
        self._learn(known)
        if was_in_use and self._outage.failures:
            self.on_open()

    def seconds_left(self) -> float:
        """Return for how long the relay is to be left alone."""
        return self._outage.seconds_left()

    def width(self, connections: int) -> int:
        """Return how many messages may be under way."""
        return self._outage.width(connections)

    def notice(self, relay_name: str) -> str | None:
        """Return what to tell people; None while it may be a mere hiccup."""
        return self._outage.notice(relay_name)

    @property
    def in_use(self) -> bool:
        """Whether nothing is known against the relay."""
        return self._outage.failures == 0

    @property
    def probing(self) -> bool:
        """Whether this process tries the relay."""
        return bool(self._probers)

    async def told(self) -> None:
        """Wait until the others have been told what this process found out."""
        if self._telling is not None:
            # Whoever waits may be cancelled; the others are to be told all the same.
            await asyncio.shield(self._telling)

    def _learn(self, known: Known) -> None:
        if known.failures == 0:
            self._outage.end()
            return
        self._outage.learn(known.failures, known.seconds_left, known.trouble)
        if known.probed_elsewhere:
            self._outage.learn(known.failures, self._until_next_look(), known.trouble)

    def _own(self) -> Known:
        return Known(self._outage.failures, self._outage.seconds_left(), self._outage.trouble)

    def _until_next_look(self) -> float:
        return min(self._outage.pause(), _LONGEST_LOOK_SECONDS)

    def _decided(self) -> None:
        self._prober = None
        self._probers.clear()

    async def _tell_failure(self, own: Known) -> None:
        known = await self._shared.open(self.relay_id, self._by, own)
        if known is not None:
            self._learn(known)

    def _tell(self, write: Coroutine[Any, Any, None]) -> None:
        """Write one after the other, beside the work."""
        before = self._telling

        async def tell() -> None:
            if before is not None:
                await asyncio.wait([before])
            await write

        self._telling = asyncio.create_task(tell())


class Breakers:
    """The breakers of a process."""

    def __init__(self, shared: SharedBreakers, pauses: OutagePauses) -> None:
        self._shared = shared
        self._pauses = pauses
        self._by = uuid4().hex
        self._breakers: dict[UUID, Breaker] = {}

    def of(self, relay_id: UUID) -> Breaker:
        """Return a relay's breaker."""
        found = self._breakers.get(relay_id)
        if found is None:
            found = Breaker(relay_id, by=self._by, pauses=self._pauses, shared=self._shared)
            self._breakers[relay_id] = found
        return found

    async def refresh(self) -> None:
        """Learn what other processes have found out; keep what this one is trying."""
        breakers = dict(self._breakers)
        if not breakers:
            return
        if probing := [relay_id for relay_id, breaker in breakers.items() if breaker.probing]:
            await self._shared.keep(probing, self._by)
        known = await self._shared.look(breakers.keys() - set(probing))
        for relay_id, one in known.items():
            breakers[relay_id].learn(one)
        BREAKERS_OPEN.set(sum(not breaker.in_use for breaker in breakers.values()))
