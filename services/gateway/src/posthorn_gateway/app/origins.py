"""Web pages of other origins, and whose answers they may read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from posthorn_common.errors import TransientError
from posthorn_gateway.app.ports import OrganisationOrigins, OriginSource, OriginStore

log = structlog.get_logger(__name__)

_ASKED = Gauge("posthorn_gateway_origins_asked_seconds", "When auth last told which origins are allowed, Unix time.")
_FAILED = Counter("posthorn_gateway_origins_failed_total", "Attempts to learn or keep the allowed origins that failed.")


class AllowedOrigins:
    """What this process knows: the installation's origins, and those of each organisation.

    Auth is asked for all of them by `ask`: at start, now and then, and with each event that tells of a change. The
    answer is kept in the store for processes that start while auth is away. While nothing new is heard what is known
    holds: nobody can change it at an auth that is away.
    """

    def __init__(self, installation: Iterable[str], source: OriginSource, store: OriginStore) -> None:
        self._installation = frozenset(installation)
        self._source = source
        self._store = store
        self._asking = asyncio.Lock()
        self._calls = 0
        self._calls_answered = 0
        self._of: OrganisationOrigins = {}
        self._of_anybody = self._installation

    def allowed_by_anybody(self, origin: str) -> bool:
        """Tell whether the installation or any organisation allows the origin."""
        return origin in self._of_anybody

    def allowed_by(self, organisation_id: UUID, origin: str) -> bool:
        """Tell whether the installation or this organisation allows the origin."""
        return origin in self._installation or origin in self._of.get(organisation_id, ())

    async def recall(self) -> None:
        """Start with what the processes before knew. Never raises because the store is away."""
        try:
            self._learn(await self._store.recall())
        except TransientError as error:
            self._report(error)

    async def ask(self) -> None:
        """Learn from auth what is allowed now. Never raises because auth or the store is away.

        An answer that is on its way may be older than the change that this call was made for, so it is asked again;
        once for all who call meanwhile.
        """
        self._calls += 1
        call = self._calls
        async with self._asking:
            if call <= self._calls_answered:
                return
            self._calls_answered = self._calls
            try:
                known = await self._source.of_all()
                self._learn(known)
                _ASKED.set_to_current_time()
                await self._store.keep(known)
            except TransientError as error:
                self._report(error)

    def _learn(self, known: Mapping[UUID, frozenset[str]]) -> None:
        self._of = known
        self._of_anybody = self._installation.union(*known.values())

    def _report(self, error: TransientError) -> None:
        _FAILED.inc()
        log.warning("origins_not_learnt", error=str(error))
