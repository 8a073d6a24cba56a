"""The rollups: every change is an addition, so that writers may come in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_analytics.adapters.db.tables import (
    CAMPAIGN_COUNTERS,
    DOMAIN_COUNTERS,
    HOUR_COUNTERS,
    LINK_COUNTERS,
    campaign_domains,
    campaign_hours,
    campaign_links,
    campaigns,
)
from posthorn_analytics.domain.tallies import CampaignTally, Tally

_ARRAYS = {"campaign_id": "uuid", "organisation_id": "uuid", "number": "integer", "url": "text", "domain": "text"}
_TIMES = {"hour", "first_activity_at", "last_activity_at"}


def _addition(table: sa.Table, keys: Sequence[str], given: Sequence[str], counters: Sequence[str], extra: str) -> str:
    """Return the statement that adds rows given as one array per column, locking rows in order of their keys."""
    columns = (*keys, *given, *counters)
    types = [_ARRAYS.get(name, "timestamptz" if name in _TIMES else "bigint") for name in columns]
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in zip(columns, types, strict=True))
    additions = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in counters)
    names = ", ".join(columns)
    return (
        f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) AS new ({names}) "  # noqa: S608  constants
        f"ORDER BY {', '.join(keys)} ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {additions}{extra}"
    )


_HOUR_COLUMNS = ("campaign_id", "hour", "organisation_id", *HOUR_COUNTERS)
_LINK_COLUMNS = ("campaign_id", "number", "organisation_id", "url", *LINK_COUNTERS)
_DOMAIN_COLUMNS = ("campaign_id", "domain", "organisation_id", *DOMAIN_COUNTERS)
_CAMPAIGN_COLUMNS = ("campaign_id", "organisation_id", "first_activity_at", "last_activity_at", *CAMPAIGN_COUNTERS)

_ADD_HOURS = sa.text(_addition(campaign_hours, ("campaign_id", "hour"), ("organisation_id",), HOUR_COUNTERS, ""))
_ADD_LINKS = sa.text(
    _addition(campaign_links, ("campaign_id", "number"), ("organisation_id", "url"), LINK_COUNTERS, "")
)
_ADD_DOMAINS = sa.text(
    _addition(campaign_domains, ("campaign_id", "domain"), ("organisation_id",), DOMAIN_COUNTERS, "")
)
_ADD_CAMPAIGNS = sa.text(
    _addition(
        campaigns,
        ("campaign_id",),
        ("organisation_id", "first_activity_at", "last_activity_at"),
        CAMPAIGN_COUNTERS,
        ", first_activity_at = LEAST(campaigns.first_activity_at, excluded.first_activity_at)"
        ", last_activity_at = GREATEST(campaigns.last_activity_at, excluded.last_activity_at), updated_at = now()",
    )
)


class SqlCounters:
    """See the port Counters."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def apply(self, tally: Tally) -> None:
        """Add the tally; the campaigns' rows, which everybody wants, are locked last and for the shortest time."""
        tallies = tally.campaigns
        await self._add(_ADD_LINKS, _LINK_COLUMNS, [row for one in tallies for row in _link_rows(one)])
        await self._add(_ADD_HOURS, _HOUR_COLUMNS, [row for one in tallies for row in _hour_rows(one)])
        await self._add(_ADD_DOMAINS, _DOMAIN_COLUMNS, [row for one in tallies for row in _domain_rows(one)])
        await self._add(_ADD_CAMPAIGNS, _CAMPAIGN_COLUMNS, [_campaign_row(one) for one in tallies])

    async def _add(self, statement: sa.TextClause, columns: Sequence[str], rows: list[dict[str, Any]]) -> None:
        if rows:
            await self._connection.execute(statement, {name: [row.get(name, 0) for row in rows] for name in columns})


def _ids(tally: CampaignTally) -> dict[str, Any]:
    return {"campaign_id": tally.campaign_id, "organisation_id": tally.organisation_id}


def _hour_rows(tally: CampaignTally) -> list[dict[str, Any]]:
    return [{**_ids(tally), "hour": hour, **amounts} for hour, amounts in tally.hours.items()]


def _link_rows(tally: CampaignTally) -> list[dict[str, Any]]:
    return [
        {**_ids(tally), "number": number, "url": tally.link_urls[number], **amounts}
        for number, amounts in tally.links.items()
    ]


def _domain_rows(tally: CampaignTally) -> list[dict[str, Any]]:
    return [
        {**_ids(tally), "domain": domain, **amounts}
        for domain, amounts in tally.domains.items()
        if any(amounts.values())
    ]


def _campaign_row(tally: CampaignTally) -> dict[str, Any]:
    times = {"first_activity_at": tally.first_at, "last_activity_at": tally.last_at}
    return {**_ids(tally), **times, **tally.totals}
