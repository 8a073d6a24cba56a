"""The ledger in PostgreSQL: every delivery is opened durably before its MAIL FROM and closed after the reply.

One statement closes what has answered and opens what comes next, for all connections of a relay at once: one commit,
and at no time are more deliveries open than there are connections. It is fenced by the batches' leases: they are locked
in share mode, so that no open can slip in behind a takeover.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from posthorn_common.errors import TransientError
from posthorn_common.outbox import INSERT_SQL
from posthorn_mailer.app.ports_ledger import Closing, Entry, EntryResult, NewSuppression, Opened, Opening
from posthorn_mailer.domain.sends import SendStatus

_AWAY = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError,
         asyncpg.InsufficientResourcesError, asyncpg.TransactionRollbackError, asyncpg.QueryCanceledError,
         # A connection that was lost between two statements, at the wrong moment.
         asyncpg.InternalClientError,
         SQLAlchemyError)  # fmt: skip

_WRITE = """
WITH answered AS (
    SELECT ($1::uuid[])[place] AS batch_id, ($2::int[])[place] AS epoch, ($3::uuid[])[place] AS send_id, a.*
    FROM unnest($4::int[], $5::int[], $6::bigint[], $7::text[], $8::bool[], $9::float8[], $10::int[], $11::text[],
                $12::text[], $13::text[])
        AS a(place, number, attempt_id, state, counted, delay, code, enhanced, reply, cause)
), wanted AS (
    SELECT ($1::uuid[])[place] AS batch_id, ($2::int[])[place] AS epoch, ($3::uuid[])[place] AS send_id, w.*
    FROM unnest($14::int[], $15::int[], $16::bigint[]) AS w(place, number, attempt_id)
), closed AS (
    UPDATE deliveries d SET
        state = a.state,
        attempts = d.attempts - CASE WHEN a.counted THEN 0 ELSE 1 END,
        next_attempt_at = CASE WHEN a.state = 'deferred' THEN now() + make_interval(secs => a.delay) END,
        finished_at = CASE WHEN a.state NOT IN ('deferred', 'pending') THEN clock_timestamp() END,
        smtp_code = a.code, enhanced_code = a.enhanced, cause = a.cause,
        -- What a server says names the recipient, who may have been erased meanwhile.
        reply = CASE WHEN d.email <> '' THEN a.reply END
    FROM answered a
    WHERE d.send_id = a.send_id AND d.number = a.number AND d.attempt_id = a.attempt_id
      AND (d.state = 'sending' OR d.state = 'ambiguous' AND a.state IN ('sent', 'bounced', 'failed')
           OR d.state IN ('pending', 'failed') AND a.state = 'sent')
    RETURNING a.attempt_id, a.batch_id, a.epoch, d.reported_state
), late AS (
    UPDATE batches b SET unreported = true FROM closed c
    WHERE b.id = c.batch_id AND NOT b.unreported
      AND (b.lease_epoch <> c.epoch OR b.state <> 'leased' OR c.reported_state IN ('ambiguous', 'failed'))
), held AS MATERIALIZED (
    SELECT b.id, b.lease_epoch, s.status FROM batches b
    JOIN unnest($1::uuid[], $2::int[]) AS h(id, epoch) ON b.id = h.id AND b.lease_epoch = h.epoch
    JOIN sends s ON s.id = b.send_id
    WHERE b.state = 'leased' AND b.lease_until > clock_timestamp()
    ORDER BY b.id FOR SHARE OF b
), opened AS (
    UPDATE deliveries d SET
        (state, attempts, finished_at, cause) = (
            SELECT CASE WHEN why IS NULL THEN 'sending' ELSE 'suppressed' END,
                   d.attempts + CASE WHEN why IS NOT NULL OR d.state = 'sending' THEN 0 ELSE 1 END,
                   CASE WHEN why IS NOT NULL THEN clock_timestamp() END,
                   coalesce(why, d.cause)
            FROM (SELECT CASE
                WHEN d.withdrawn THEN 'unsubscribed'
                WHEN d.email = '' THEN 'erased'
                WHEN EXISTS (SELECT FROM suppressions x
                             WHERE x.organisation_id = d.organisation_id
                               AND x.email IN (d.email, '@' || split_part(d.email, '@', 2))
                               AND (x.expires_at IS NULL OR x.expires_at > now())) THEN 'suppressed'
                WHEN EXISTS (SELECT FROM suppressed_contacts x
                             WHERE x.organisation_id = d.organisation_id AND x.contact_id = d.contact_id)
                    THEN 'unsubscribed'
                END OFFSET 0) q(why)  -- OFFSET: asked once, not for each column
        ),
        epoch = held.lease_epoch, attempt_id = w.attempt_id, next_attempt_at = NULL, opened_at = clock_timestamp(),
        first_opened_at = coalesce(d.first_opened_at, now()),
        expires_at = coalesce(d.expires_at, now() + make_interval(secs => $17))
    FROM wanted w
    JOIN held ON held.id = w.batch_id AND held.lease_epoch = w.epoch AND held.status = 'sending'
    WHERE d.send_id = w.send_id AND d.number = w.number
      AND (d.state = 'pending' OR d.state = 'deferred' AND d.next_attempt_at <= clock_timestamp()
           OR d.state = 'sending' AND d.attempt_id = w.attempt_id)
    RETURNING d.attempt_id, d.state, d.attempts, d.first_opened_at,
              extract(epoch FROM d.expires_at - now())::float8 AS expires_in
)
SELECT (SELECT coalesce(array_agg(attempt_id), '{}') FROM closed) AS closed,
       (SELECT coalesce(array_agg(attempt_id), '{}') FROM opened WHERE state = 'suppressed') AS suppressed,
       (SELECT coalesce(array_agg((id, lease_epoch, status)), '{}') FROM held) AS held,
       o.* FROM (
           SELECT array_agg(attempt_id) AS attempt_ids, array_agg(attempts) AS attempts,
                  array_agg(first_opened_at) AS first_opened_at, array_agg(expires_in) AS expires_in
           FROM opened WHERE state = 'sending'
       ) o
"""

# Planning the statement takes longer than carrying it out, so its plan is kept, but not for long: the one for a table
# that was nearly empty reads all of it, and a million rows may be there a few seconds later.
_KEEP_PLANS = """
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""
_PLANS_KEPT_SECONDS = 1.0

_SUPPRESS = """
INSERT INTO suppressions (organisation_id, email, reason, contact_id, source, created_at)
SELECT $1::uuid, $2::text, 'hard_bounce', $3::uuid, 'delivery', now()
WHERE NOT EXISTS (
    SELECT FROM suppressed_contacts WHERE organisation_id = $1 AND contact_id = $3 AND reason = 'erased'
)
ON CONFLICT (organisation_id, email) DO UPDATE SET
    reason = EXCLUDED.reason, source = EXCLUDED.source, created_at = EXCLUDED.created_at, expires_at = NULL,
    contact_id = coalesce(EXCLUDED.contact_id, suppressions.contact_id)
    WHERE suppressions.expires_at IS NOT NULL
"""
_NOTE_CHANGE = "INSERT INTO suppression_changes (organisation_id, email) VALUES ($1, $2)"


class SqlLedger:
    """See the port Ledger."""

    def __init__(self, engine: AsyncEngine, *, horizon_seconds: float) -> None:
        self._engine = engine
        self._horizon_seconds = horizon_seconds

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncGenerator[SqlLedgerPage]:
        """Provide a page on a connection of its own."""
        page = SqlLedgerPage(self._engine, self._horizon_seconds)
        try:
            yield page
        finally:
            await page.close()


class SqlLedgerPage:
    """See the port LedgerPage. Connects when it has something to write, and again after an error.

    The connection is its own: it plans as no other does, so it never goes back into the pool.
    """

    def __init__(self, engine: AsyncEngine, horizon_seconds: float) -> None:
        self._engine = engine
        self._horizon_seconds = horizon_seconds
        self._connection: AsyncConnection | None = None
        self._driver: asyncpg.Connection | None = None
        self._plans_end_at = 0.0

    async def write(self, entry: Entry) -> EntryResult:
        """Close and open deliveries. Raises TransientError when the database is away: repeat the same entry then."""
        try:
            return _result(await self._write(entry))
        except _AWAY as error:
            await self.close()
            raise TransientError(f"the database is away: {type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()

    async def _write(self, entry: Entry) -> Any:
        driver = self._driver or await self._connect()
        if time.monotonic() >= self._plans_end_at:
            await driver.execute("DISCARD PLANS")
            self._plans_end_at = time.monotonic() + _PLANS_KEPT_SECONDS
        arguments = (*_columns(entry), self._horizon_seconds)
        if not entry.suppressions:
            return await driver.fetchrow(_WRITE, *arguments)
        async with driver.transaction():
            row = await driver.fetchrow(_WRITE, *arguments)
            for suppression in entry.suppressions:
                await _suppress(driver, suppression)
        return row

    async def _connect(self) -> asyncpg.Connection:
        self._connection = connection = await self._engine.connect()
        raw: Any = await connection.get_raw_connection()
        driver: asyncpg.Connection = raw.driver_connection
        await driver.execute(_KEEP_PLANS)
        self._driver = driver
        return driver


async def _suppress(driver: asyncpg.Connection, suppression: NewSuppression) -> None:
    event = suppression.event
    done = await driver.execute(_SUPPRESS, suppression.organisation_id, suppression.email, suppression.contact_id)
    if done == "INSERT 0 1":
        await driver.execute(INSERT_SQL, event.id, event.type, event.model_dump_json())
        await driver.execute(_NOTE_CHANGE, suppression.organisation_id, suppression.email)


def _columns(entry: Entry) -> list[list[Any]]:
    """Return the statement's arrays. Deliveries name their batch by its place in the first three, from 1."""
    closings = sorted(entry.closings, key=_position)
    openings = sorted(entry.openings, key=_position)
    held = {id(row.batch): row.batch for row in closings} | {id(row.batch): row.batch for row in openings}
    places = {key: place for place, key in enumerate(held, 1)}
    return [
        [batch.id for batch in held.values()],
        [batch.lease_epoch for batch in held.values()],
        [batch.send_id for batch in held.values()],
        [places[id(row.batch)] for row in closings],
        [row.number for row in closings],
        [row.attempt_id for row in closings],
        [row.state.value for row in closings],
        [row.counted for row in closings],
        [row.delay_seconds or 0.0 for row in closings],
        [row.smtp_code for row in closings],
        [row.enhanced_code for row in closings],
        [row.reply for row in closings],
        [row.cause for row in closings],
        [places[id(row.batch)] for row in openings],
        [row.number for row in openings],
        [row.attempt_id for row in openings],
    ]


def _position(row: Closing | Opening) -> tuple[int, int]:
    """Whoever changes several deliveries does it in this order."""
    return row.batch.send_id.int, row.number


def _result(row: Any) -> EntryResult:
    closed, suppressed, held, *opened = row
    return EntryResult(
        closed=frozenset(closed),
        opened=[] if opened[0] is None else [Opened(*one) for one in zip(*opened, strict=True)],
        suppressed=frozenset(suppressed),
        statuses={(batch_id, epoch): SendStatus(status) for batch_id, epoch, status in held},
    )
