"""Deliveries in PostgreSQL; see the port of the same name. Opening and closing them is the ledger's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import count, islice
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_common.addresses import domain_of
from posthorn_mailer.adapters.db.batches import may_hold
from posthorn_mailer.adapters.db.tables import batches, closed_deliveries, deliveries, sends
from posthorn_mailer.app.ports_content import Recipient
from posthorn_mailer.app.ports_planning import RecipientPage
from posthorn_mailer.app.ports_sends import Batch, Span, Tally, Untold
from posthorn_mailer.domain.deliveries import OPEN, Delivery, DeliveryState
from posthorn_mailer.domain.errors import DeliveryNotFound
from posthorn_mailer.domain.feedback import Feedback
from posthorn_mailer.domain.sends import Send

_ROWS_PER_CHUNK = 1000
_COPIED = ("send_id", "number", "organisation_id", "contact_id", "email", "domain", "fields")
# Of merge fields at a time; a batch that has more is claimed more than once.
_MOST_BYTES = 4 * 1024 * 1024
_UNKNOWN_END = "The worker ended before the relay's answer was written down."
_SHOWN = (
    "send_id", "number", "organisation_id", "contact_id", "email", "state", "attempts", "smtp_code", "enhanced_code",
    "reply", "cause", "opened_at", "finished_at",
)  # fmt: skip
_COLUMNS = (*(deliveries.c[name] for name in _SHOWN), deliveries.c.next_attempt_at)
# Those of sends that are closed as well; in one statement, since they move from one table to the other.
_all = sa.union_all(
    sa.select(*_COLUMNS),
    sa.select(
        *(closed_deliveries.c[name] for name in _SHOWN),
        sa.cast(sa.null(), deliveries.c.next_attempt_at.type).label("next_attempt_at"),
    ),
).subquery("found_deliveries")


class SqlDeliveries:
    """Stored deliveries."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def copy(self, send: Send, first_number: int, page: RecipientPage) -> None:
        """Store new deliveries, numbered from `first_number`. Raises ValueError for addresses that cannot be."""
        driver: Any = (await self._connection.get_raw_connection()).driver_connection
        # On the connection's running transaction, which an earlier statement has begun.
        await driver.copy_to_table(
            "deliveries", source=_lines(send, first_number, page), columns=_COPIED, format="text"
        )

    async def recipients(self, batch: Batch) -> list[Recipient]:
        """Return what may be opened now, in order, as far as it fits into memory."""
        rows = await self._connection.execute(_RECIPIENTS, _range(batch) | {"most_bytes": _MOST_BYTES})
        return [Recipient(row.number, row.contact_id, row.email, row.fields) for row in rows]

    async def relabel(self, batch: Batch) -> int:
        """Mark what earlier holders left open as ambiguous; return how many."""
        values = {**_range(batch), "epoch": batch.lease_epoch, "reply": _UNKNOWN_END}
        return (await self._connection.execute(_RELABEL, values)).rowcount

    async def tally(self, batch: Batch) -> Tally:
        """Return what a batch has come to."""
        rows = (await self._connection.execute(_TALLY, _range(batch))).all()
        counts = {DeliveryState(row.state): row.total for row in rows}
        return Tally(counts, next((row.next_in for row in rows if row.state == DeliveryState.DEFERRED), None))

    async def take_unreported(self, span: Span, at_a_time: int) -> list[Untold]:
        """Return changes not told yet, and mark them as told."""
        rows = await self._connection.execute(_TAKE_UNREPORTED, {**_range(span), "at_a_time": at_a_time})
        return [Untold(row.total, row.records) for row in rows]

    async def cancel(self, batch: Batch) -> int:
        """Cancel what is not opened; return how many."""
        return (await self._connection.execute(_CANCEL, _range(batch))).rowcount

    async def retry_failed(self, send_id: UUID) -> int:
        """Make failed deliveries pending, as if they had never been tried; return how many."""
        change = (
            sa.update(deliveries)
            # Of an erased contact nothing is left that could be sent.
            .where(
                deliveries.c.send_id == send_id,
                deliveries.c.state == DeliveryState.FAILED,
                deliveries.c.email != "",
            )
            .values(state=DeliveryState.PENDING, attempts=0, expires_at=None, next_attempt_at=None, finished_at=None)
        )
        return (await self._connection.execute(change)).rowcount

    async def return_late(self, send_id: UUID, number: int, attempt_id: int) -> bool:
        """Make a delivery pending that was put in doubt although its attempt certainly failed."""
        change = (
            sa.update(deliveries)
            .where(
                deliveries.c.send_id == send_id,
                deliveries.c.number == number,
                deliveries.c.attempt_id == attempt_id,
                deliveries.c.state == DeliveryState.AMBIGUOUS,
            )
            .values(state=DeliveryState.PENDING, finished_at=None, reply=None)
        )
        return bool((await self._connection.execute(change)).rowcount)

    async def resend_ambiguous(self, span: Span, opened_before_seconds: float) -> int:
        """Make deliveries in doubt pending whose attempt is old enough; return how many."""
        age = sa.func.make_interval(0, 0, 0, 0, 0, 0, opened_before_seconds)
        change = (
            sa.update(deliveries)
            .where(
                deliveries.c.send_id == span.send_id,
                deliveries.c.number.between(span.first, span.last),
                deliveries.c.state == DeliveryState.AMBIGUOUS,
                deliveries.c.opened_at < sa.func.clock_timestamp() - age,
                deliveries.c.email != "",
            )
            .values(state=DeliveryState.PENDING, finished_at=None, expires_at=None)
        )
        return (await self._connection.execute(change)).rowcount

    async def lock(self, organisation_id: UUID, send_id: UUID, contact_id: UUID) -> Delivery:
        """Return the delivery, locked. Raises DeliveryNotFound."""
        return await self._one(_of(deliveries, organisation_id, send_id, contact_id).with_for_update())

    async def get(self, organisation_id: UUID, send_id: UUID, contact_id: UUID) -> Delivery:
        """Return the delivery. Raises DeliveryNotFound."""
        return await self._one(_of(_all, organisation_id, send_id, contact_id))

    async def resolve(self, delivery: Delivery, state: DeliveryState) -> None:
        """Store what a person has decided."""
        final = state is not DeliveryState.PENDING
        values: dict[str, Any] = {"state": state}
        values |= {"finished_at": sa.func.now()} if final else {"finished_at": None, "expires_at": None}
        await self._connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.send_id == delivery.send_id, deliveries.c.number == delivery.number)
            .values(values)
        )

    async def note_feedback(
        self, delivery: Delivery, state: DeliveryState, told: Feedback, *, cause: str | None
    ) -> None:
        """Store what came back about a delivery, and its state."""
        values: dict[str, Any] = {"state": state, "cause": cause}
        if told.diagnostic or told.code or told.enhanced_code:
            # What a server says names the recipient, and of an erased contact nothing comes back.
            reply = told.diagnostic if delivery.email else None
            values |= {"smtp_code": told.code, "enhanced_code": told.enhanced_code, "reply": reply}
        if state is not delivery.state:
            # Neither before the attempt nor after now, whatever clock has told it.
            at = sa.func.coalesce(sa.cast(told.at, deliveries.c.finished_at.type), sa.func.now())
            values["finished_at"] = sa.func.least(
                sa.func.greatest(at, sa.func.coalesce(deliveries.c.opened_at, at)), sa.func.now()
            )
        await self._connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.send_id == delivery.send_id, deliveries.c.number == delivery.number)
            .values(values)
        )

    async def page(
        self, send_id: UUID, *, state: DeliveryState | None, search: str | None, after: int | None, limit: int
    ) -> list[Delivery]:
        """Return deliveries by number, after `after`."""
        query = sa.select(_all).where(_all.c.send_id == send_id).order_by(_all.c.number).limit(limit)
        if after is not None:
            query = query.where(_all.c.number > after)
        if search is not None:
            query = query.where(_all.c.email.icontains(search, autoescape=True))
        if state is not None:
            query = _in_state(query, send_id, state, after).limit(limit)
        return [_delivery(row) for row in await self._connection.execute(query)]

    async def counts(self, send_id: UUID) -> dict[DeliveryState, int]:
        """Return how many deliveries are in each state, by the counts of the batches."""
        found = {row.state: row.total for row in await self._connection.execute(_COUNTS, {"send": send_id})}
        return {state: int(found.get(state, 0)) for state in DeliveryState}

    async def recount(self, send_id: UUID) -> dict[DeliveryState, int]:
        """Return how many deliveries are in each state, having counted them one by one."""
        query = sa.select(_all.c.state, sa.func.count()).where(_all.c.send_id == send_id).group_by(_all.c.state)
        found = {DeliveryState(state): count for state, count in await self._connection.execute(query)}
        return {state: found.get(state, 0) for state in DeliveryState}

    async def unfinished_of(self, organisation_id: UUID, contact_id: UUID) -> list[tuple[UUID, int]]:
        """Return (send, number) of a contact's deliveries that may still change their state."""
        mine = sa.select(sends.c.id).where(sends.c.organisation_id == organisation_id)
        query = (
            sa.select(deliveries.c.send_id, deliveries.c.number)
            .where(deliveries.c.send_id.in_(mine), deliveries.c.contact_id == contact_id)
            .where(deliveries.c.state.in_([*OPEN, DeliveryState.FAILED, DeliveryState.AMBIGUOUS]))
            .order_by(deliveries.c.send_id, deliveries.c.number)
        )
        return [(row.send_id, row.number) for row in await self._connection.execute(query)]

    async def erase(self, organisation_id: UUID, contact_id: UUID) -> tuple[int, list[tuple[UUID, int]]]:
        """Blank what is personal and cancel what is not opened; return how many, and which were cancelled."""
        values = {"organisation": organisation_id, "contact": contact_id}
        rows = (await self._connection.execute(_ERASE, values)).all()
        # Afterwards: what is moved meanwhile is there by now.
        closed = (await self._connection.execute(_ERASE_CLOSED, values)).rowcount
        return len(rows) + closed, [(row.send_id, row.number) for row in rows if row.cancelled]

    async def _one(self, query: sa.Select[Any]) -> Delivery:
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise DeliveryNotFound
        return _delivery(row)


async def _lines(send: Send, first_number: int, page: RecipientPage) -> AsyncGenerator[bytes]:
    """Yield rows in the text format of COPY, which costs a third of making every value a Python object first."""
    send_id, organisation_id = str(send.id), str(send.organisation_id)
    rows = zip(count(first_number), page.contact_ids, page.emails, page.fields, strict=False)
    while some := list(islice(rows, _ROWS_PER_CHUNK)):
        text = "".join(
            [
                f"{send_id}\t{number}\t{organisation_id}\t{contact_id}\t{email}\t{domain_of(email)}\t{fields}\n"
                for number, contact_id, email, fields in some
            ]
        )
        # JSON has none of these unescaped, and no address has any.
        if text.count("\t") != (len(_COPIED) - 1) * len(some) or text.count("\n") != len(some) or "\r" in text:
            raise ValueError("an address has control characters")
        yield text.replace("\\", "\\\\").encode()


_IN_RANGE = "send_id = :send AND number BETWEEN :first AND :last"
_RECIPIENTS = sa.text(f"""
    SELECT number, contact_id, email, fields FROM (
        SELECT number, contact_id, email, fields,
               sum(octet_length(fields)) OVER (ORDER BY number) - octet_length(fields) AS bytes_before
        FROM deliveries
        WHERE {_IN_RANGE} AND (state = 'pending' OR state = 'deferred' AND next_attempt_at <= clock_timestamp())
    ) due WHERE bytes_before < :most_bytes ORDER BY number
""")  # noqa: S608  the range is a constant
_RELABEL = sa.text(f"""
    UPDATE deliveries SET state = 'ambiguous', finished_at = now(), reply = :reply
    WHERE {_IN_RANGE} AND state = 'sending' AND epoch < :epoch
""")  # noqa: S608
_TALLY = sa.text(f"""
    SELECT state, count(*) AS total,
           CAST(extract(epoch FROM min(next_attempt_at) - clock_timestamp()) AS double precision) AS next_in
    FROM deliveries WHERE {_IN_RANGE} GROUP BY state
""")  # noqa: S608
_COUNTS = sa.text("""
    SELECT state, sum(total) AS total FROM (
        SELECT known.key AS state, CAST(known.value AS bigint) AS total
        FROM batches b CROSS JOIN LATERAL jsonb_each_text(b.counts) known
        WHERE b.send_id = :send AND NOT b.unreported
        UNION ALL
        SELECT found.state, found.total FROM batches b CROSS JOIN LATERAL (
            SELECT state, count(*) AS total FROM deliveries
            WHERE send_id = b.send_id AND number BETWEEN b.first_number AND b.last_number GROUP BY state
        ) found
        WHERE b.send_id = :send AND (b.counts IS NULL OR b.unreported)
        UNION ALL
        SELECT kept.key, CAST(kept.value AS bigint)
        FROM sends s CROSS JOIN LATERAL jsonb_each_text(s.final_counts) kept WHERE s.id = :send
    ) counted GROUP BY state
""")
# The names are those of the contract's DeliveryRecord. Written here, a record costs a fifth of what it costs in Python.
_TAKE_UNREPORTED = sa.text(f"""
    WITH told AS (
        UPDATE deliveries SET reported_state = state
        WHERE {_IN_RANGE} AND state NOT IN ('pending', 'sending') AND state IS DISTINCT FROM reported_state
        RETURNING contact_id, state AS outcome, old.reported_state AS previous, domain,
                  coalesce(finished_at, now()) AS at, smtp_code, enhanced_code, cause
    ), numbered AS (SELECT (row_number() OVER () - 1) / :at_a_time AS part, told FROM told)
    SELECT count(*) AS total, '[' || string_agg(CAST(row_to_json(told) AS text), ',') || ']' AS records
    FROM numbered GROUP BY part ORDER BY part
""")  # noqa: S608
# One by one, by the primary key, whatever the statistics say: joining two sets takes the square of a batch's time.
_CANCEL = sa.text(f"""
    UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, finished_at = now()
    WHERE send_id = :send AND number = ANY(ARRAY(
        SELECT number FROM deliveries WHERE {_IN_RANGE} AND state IN ('pending', 'deferred')
        ORDER BY number FOR UPDATE SKIP LOCKED
    ))
""")  # noqa: S608
_ERASE = sa.text("""
    WITH mine AS MATERIALIZED (
        SELECT send_id, number, state IN ('pending', 'deferred') AS cancelled FROM deliveries
        WHERE contact_id = :contact AND send_id IN (SELECT id FROM sends WHERE organisation_id = :organisation)
          AND (email <> '' OR state IN ('pending', 'deferred'))
        ORDER BY send_id, number FOR UPDATE
    )
    UPDATE deliveries d SET email = '', fields = '{}', reply = NULL,
        state = CASE WHEN mine.cancelled THEN 'cancelled' ELSE state END,
        next_attempt_at = NULL,
        finished_at = CASE WHEN mine.cancelled THEN now() ELSE finished_at END
    FROM mine WHERE d.send_id = mine.send_id AND d.number = mine.number
    RETURNING d.send_id, d.number, mine.cancelled
""")


_ERASE_CLOSED = sa.text("""
    UPDATE closed_deliveries SET email = '', reply = NULL
    WHERE contact_id = :contact AND email <> ''
      AND send_id IN (SELECT id FROM sends WHERE organisation_id = :organisation AND closed_month IS NOT NULL)
""")


def _in_state(query: sa.Select[Any], send_id: UUID, state: DeliveryState, after: int | None) -> sa.Select[Any]:
    """Return the query with only those in a state: batches that have none are not looked into."""
    here = sa.and_(_all.c.state == state, _all.c.number.between(batches.c.first_number, batches.c.last_number))
    found = query.where(here).correlate(batches).lateral("found")
    several = sa.select(found).select_from(batches.join(found, sa.true()))
    several = several.where(batches.c.send_id == send_id, may_hold(state))
    if after is not None:
        several = several.where(batches.c.last_number > after)
    return several.order_by(batches.c.first_number, found.c.number)


def _range(span: Span) -> dict[str, Any]:
    return {"send": span.send_id, "first": span.first, "last": span.last}


def _of(source: sa.Table | sa.Subquery, organisation_id: UUID, send_id: UUID, contact_id: UUID) -> sa.Select[Any]:
    return sa.select(*(source.c[column.name] for column in _COLUMNS)).where(
        source.c.organisation_id == organisation_id,
        source.c.send_id == send_id,
        source.c.contact_id == contact_id,
    )


def _delivery(row: Any) -> Delivery:
    return Delivery(**{**row._mapping, "state": DeliveryState(row.state)})  # noqa: SLF001  SQLAlchemy's public name
