"""The ledger's own connection: lost, and planned on."""

from __future__ import annotations

import asyncpg
import pytest
import sqlalchemy as sa

from posthorn_common.errors import TransientError
from posthorn_mailer.adapters.db.ledger import SqlLedger
from posthorn_mailer.app.ports_ledger import Entry

from .support import Office, members

pytestmark = pytest.mark.integration


async def test_a_ledger_whose_connection_has_died_unnoticed_asks_for_the_same_entry_again(office: Office) -> None:
    class Dead:
        async def fetchrow(self, *_: object) -> None:
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

        execute = fetchrow

    async with SqlLedger(office.container.engine, horizon_seconds=60).page() as page:
        await page.write(Entry([], []))
        page._driver = Dead()  # type: ignore[assignment]
        with pytest.raises(TransientError):
            await page.write(Entry([], []))
        assert (await page.write(Entry([], []))).opened == []


async def test_the_ledger_keeps_its_plan_but_not_while_the_table_grows(office: Office) -> None:
    prepared = (
        "SELECT name, generic_plans, custom_plans FROM pg_prepared_statements "
        "WHERE statement LIKE '%answered%' AND statement NOT LIKE 'SELECT%'"
    )
    await office.plan(members(3), port=25)
    async with SqlLedger(office.container.engine, horizon_seconds=60).page() as page:
        for _ in range(3):
            await page.write(Entry([], []))
        assert page._driver is not None
        ((name, generic, custom),) = await page._driver.fetch(prepared)
        assert (generic, custom) == (3, 0)
        await office.execute(
            "INSERT INTO deliveries (send_id, number, organisation_id, contact_id, email, domain, fields) "
            "SELECT send_id, n, organisation_id, gen_random_uuid(), 'a@example.com', 'example.com', '{}' "
            "FROM deliveries, generate_series(10, 20000) n WHERE number = 1"
        )
        page._plans_end_at = 0.0
        await page.write(Entry([], []))
        nothing = ", ".join(["NULL"] * 17)
        plan = "\n".join(line for (line,) in await page._driver.fetch(f'EXPLAIN EXECUTE "{name}" ({nothing})'))
        assert plan.count("Index Scan using pk_deliveries") == 2
    await office.execute("DELETE FROM deliveries WHERE number >= 10")
    async with office.container.engine.connect() as another:
        assert await another.scalar(sa.text("SHOW plan_cache_mode")) == "auto"
