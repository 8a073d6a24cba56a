"""Sessions and API keys that are over although tokens for them have not expired."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError
from posthorn_gateway.app.ports import RevocationSource, RevocationStore

log = structlog.get_logger(__name__)

# Auth issues access tokens for ten minutes at most; verifiers and clocks may differ by a little.
REMEMBERED_SECONDS = 600.0 + 60.0

_KNOWN = Gauge("posthorn_gateway_revocations", "Revoked sessions and API keys that this process knows.")
_SYNCED = Gauge("posthorn_gateway_revocations_synced_seconds", "When they were last read from Redis, Unix time.")
_ASKED = Gauge("posthorn_gateway_revocations_asked_seconds", "When auth was last asked for them, Unix time.")
_FAILED = Counter(
    "posthorn_gateway_revocation_syncs_failed_total", "Attempts to read, keep or ask for them that failed."
)


class Revocations:
    """What this process knows, kept equal with all others through the store.

    An event that any gateway process has seen reaches the others, and those that start later, with the next `sync`.
    Auth itself is asked now and then, so that what was revoked is known although RabbitMQ is away.
    """

    def __init__(
        self, store: RevocationStore, source: RevocationSource, clock: Clock, *, stale_seconds: float = 60
    ) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._stale_seconds = stale_seconds
        self._asked_at = self._now()
        self._until: dict[UUID, float] = {}
        self._unsaved: dict[UUID, float] = {}

    def includes(self, id_: UUID | None) -> bool:
        """Tell whether the session or API key is over."""
        return id_ in self._until

    def are_stale(self) -> bool:
        """Tell whether auth has not told for so long that somebody may be shut out who is not known here.

        Events alone are no proof: those of an auth that cannot reach RabbitMQ do not come.
        """
        return self._now() - self._asked_at > self._stale_seconds

    async def revoke(self, id_: UUID, at: datetime) -> None:
        """Refuse tokens of a session or API key from now on. Idempotent; the store may be away."""
        self._note(id_, at)
        try:
            await self._save()
        except TransientError as error:
            self._report(error)

    async def ask(self) -> None:
        """Learn from auth what it has revoked lately. Never raises because auth is away."""
        try:
            revoked = await self._source.within(REMEMBERED_SECONDS)
        except TransientError as error:
            self._report(error)
            return
        for id_, at in revoked.items():
            if id_ not in self._until:
                self._note(id_, at)
        self._asked_at = self._now()
        _ASKED.set(self._asked_at)

    async def sync(self) -> None:
        """Give the store what it lacks, and learn what it knows. Never raises because the store is away."""
        try:
            await self._save()
            self._until.update(await self._store.all(self._now()))
        except TransientError as error:
            self._report(error)
        else:
            _SYNCED.set(self._now())
        self._forget()
        _KNOWN.set(len(self._until))

    def _note(self, id_: UUID, at: datetime) -> None:
        until = at.timestamp() + REMEMBERED_SECONDS
        if until > self._now():
            self._until[id_] = until
            self._unsaved[id_] = until

    async def _save(self) -> None:
        saving = dict(self._unsaved)
        if saving:
            await self._store.add(saving)
            for id_ in saving:
                self._unsaved.pop(id_, None)

    def _report(self, error: TransientError) -> None:
        _FAILED.inc()
        log.warning("revocations_not_synced", error=str(error), unsaved=len(self._unsaved))

    def _forget(self) -> None:
        now = self._now()
        for known in (self._until, self._unsaved):
            for id_ in [id_ for id_, until in known.items() if until <= now]:
                del known[id_]

    def _now(self) -> float:
        return self._clock.now().timestamp()
