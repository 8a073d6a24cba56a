"""Plans of queries, as PostgreSQL would carry them out."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.ext.asyncio import AsyncConnection


async def plan_of(connection: AsyncConnection, query: sa.Select[Any], *, analyze: bool = False) -> dict[str, Any]:
    """Return the plan of a query with the values that it has."""
    compiled = query.compile(dialect=dialect(), compile_kwargs={"render_postcompile": True})
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    options = "ANALYZE, FORMAT JSON" if analyze else "FORMAT JSON"
    processors = compiled._bind_processors
    values = [
        processors[name](compiled.params[name]) if name in processors else compiled.params[name]
        for name in compiled.positiontup or ()
    ]
    found: dict[str, Any] = await driver.fetchval(f"EXPLAIN ({options}) {compiled}", *values)
    document = json.loads(found) if isinstance(found, str) else found
    plan: dict[str, Any] = document[0]["Plan"]
    return plan


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every node of a plan."""
    return [plan, *(below for child in plan.get("Plans", []) for below in nodes_of(child))]


def sequential_scans(plan: dict[str, Any]) -> list[str]:
    """Return the tables that are read from end to end."""
    return [node["Relation Name"] for node in nodes_of(plan) if node["Node Type"] == "Seq Scan"]
