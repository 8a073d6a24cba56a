"""Requests with an idempotency key: the first is carried out, those after it get its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

import structlog
from prometheus_client import Counter

from posthorn_common.errors import TransientError
from posthorn_gateway.app.ports import IdempotencyStore, KeptAnswer, KeyState, KnownKey
from posthorn_gateway.domain.errors import (
    AnswerNotKept,
    IdempotencyKeyReused,
    IdempotencyUnavailable,
    OutcomeUnknown,
    RequestInProgress,
)

log = structlog.get_logger(__name__)

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.2

_REQUESTS = Counter(
    "posthorn_gateway_idempotent_requests_total",
    "Requests with an Idempotency-Key, by what became of them.",
    ["outcome"],
)


@dataclass(slots=True)
class Attempt:
    """The first request with its key. Whoever carries it out says how it ended; unless told, nobody knows."""

    scope: str
    holder: str
    store: IdempotencyStore
    is_concluded: bool = False

    async def settle(self, fingerprint: bytes, answer: KeptAnswer | None) -> None:
        """Keep the answer; None if it is too large. Returns too if the store is away: see ADR 0021."""
        await self._conclude("carried_out", self.store.settle, fingerprint, answer)

    async def release(self) -> None:
        """Let the key be used again: nothing was carried out."""
        await self._conclude("released", self.store.release)

    async def interrupt(self) -> None:
        """Keep that nobody knows whether it was carried out."""
        await self._conclude("interrupted", self.store.interrupt)

    async def _conclude(self, outcome: str, end: Callable[..., Awaitable[None]], *facts: object) -> None:
        self.is_concluded = True
        is_kept = await _persistently(end, self.scope, self.holder, *facts, outcome=outcome)
        _REQUESTS.labels(outcome if is_kept else "not_kept").inc()


class Repeating:
    """Decides for each request with a key whether it is the first."""

    def __init__(self, store: IdempotencyStore, *, renew_seconds: float) -> None:
        self._store = store
        self._renew_seconds = renew_seconds
        self._giving_back: set[asyncio.Task[bool]] = set()

    @contextlib.asynccontextmanager
    async def once(self, scope: str) -> AsyncGenerator[Attempt | KnownKey]:
        """Provide an Attempt to whoever comes first, and what is known of the key to those who come when it is DONE.

        Raises RequestInProgress, OutcomeUnknown or IdempotencyUnavailable.
        """
        holder = str(uuid4())
        try:
            known = await self._store.claim(scope, holder)
        except TransientError as error:
            _REQUESTS.labels("unavailable").inc()
            self._give_back(scope, holder)
            raise IdempotencyUnavailable from error
        if known.state is not KeyState.OURS:
            _REQUESTS.labels(f"found_{known.state}").inc()
            yield _replayable(known)
            return
        attempt = Attempt(scope, holder, self._store)
        renewing = asyncio.create_task(self._renew(scope, holder))
        try:
            yield attempt
        finally:
            renewing.cancel()
            if not attempt.is_concluded:
                await attempt.interrupt()

    def _give_back(self, scope: str, holder: str) -> None:
        """Release a key that may be ours: the store can have taken a claim of which no answer has come."""
        task = asyncio.create_task(_persistently(self._store.release, scope, holder, outcome="unavailable"))
        self._giving_back.add(task)
        task.add_done_callback(self._giving_back.discard)

    async def _renew(self, scope: str, holder: str) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            try:
                await self._store.renew(scope, holder)
            except TransientError as error:
                log.warning("idempotency_key_not_renewed", error=str(error))


async def _persistently(tell: Callable[..., Awaitable[None]], *facts: object, outcome: str) -> bool:
    """Tell the store how something ended, a few times if need be; return whether it knows."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            await tell(*facts)
        except TransientError as error:
            if not left:
                log.warning("idempotency_outcome_not_kept", outcome=outcome, error=str(error))
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def checked_answer(known: KnownKey, fingerprint: bytes) -> KeptAnswer:
    """Return the answer to give again. Raises IdempotencyKeyReused or AnswerNotKept."""
    if known.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    if known.answer is None:
        raise AnswerNotKept
    return known.answer


def _replayable(known: KnownKey) -> KnownKey:
    if known.state is KeyState.RUNNING:
        raise RequestInProgress
    if known.state is KeyState.INTERRUPTED:
        raise OutcomeUnknown
    return known
