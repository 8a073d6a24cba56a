"""`make bench-audience`: finding, counting and streaming contacts in an organisation with a million of them.

Requests go through the service's own HTTP application, in this process: tokens, queries, JSON, but no network. Beside
times it tells how often PostgreSQL has read a whole table, which it should not where an index serves.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gc
import logging
import os
import random
import secrets
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import httpx
import orjson
import structlog
import typer
import uvloop

from benchmarks.audience.fill import fill
from benchmarks.harness.servers import Servers, running_servers
from posthorn_campaigns.bootstrap import MIGRATIONS, Container, bootstrap
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.settings import Settings
from posthorn_common import migrations
from posthorn_common.clock import new_id
from posthorn_common.settings import load_settings
from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role
from posthorn_local.environment import SERVICES, service_environment
from posthorn_local.paths import REPOSITORY
from posthorn_local.ports import free_ports
from posthorn_local.provisioning import provision
from posthorn_local.secrets_file import load_or_create_secrets

_NEW_OBJECTS = 10_000
_TABLES = ("contacts", "subscriptions", "engagements")
_FULL_READS = """
    SELECT sum(seq_scan)::int FROM pg_stat_user_tables WHERE schemaname = 'campaigns' AND relname = ANY($1)
"""
_RULES: dict[str, Any] = {
    "an attribute": {"attribute": "plan", "is": "pro"},
    "opened in the last 30 days": {"engagement": "opened", "within_days": 30},
    "an attribute, a list and not opened": {
        "all": [
            {"attribute": "visits", "at_least": 500},
            {"list": None},
            {"not": {"engagement": "opened", "within_days": 90}},
        ]
    },
}


@dataclass(frozen=True)
class Stage:
    """The service with a filled database."""

    database: asyncpg.Connection
    http: httpx.AsyncClient
    headers: dict[str, str]
    service_headers: dict[str, str]
    list_ids: list[UUID]
    contacts: int

    async def get(self, path: str) -> Any:
        """Return the answer's document."""
        headers = self.service_headers if path.startswith("/internal") else self.headers
        return _document(await self.http.get(path, headers=headers))

    async def post(self, path: str, body: Any) -> Any:
        """Return the answer's document."""
        return _document(await self.http.post(path, json=body, headers=self.headers))

    async def patch(self, path: str, body: Any) -> Any:
        """Return the answer's document."""
        return _document(await self.http.patch(path, json=body, headers=self.headers))

    async def full_reads(self) -> int:
        """Return how often a large table has been read from end to end."""
        await self.database.execute("SELECT pg_stat_force_next_flush()")
        query = (
            "SELECT sum(seq_scan)::int FROM pg_stat_user_tables WHERE schemaname = 'campaigns' AND relname = ANY($1)"
        )
        return int(await self.database.fetchval(query, list(_TABLES)))


def _document(answer: httpx.Response) -> Any:
    if answer.status_code not in {200, 201}:
        raise RuntimeError(f"{answer.status_code}: {answer.text}")
    return orjson.loads(answer.content)


@contextlib.asynccontextmanager
async def _stage(contacts: int) -> AsyncGenerator[tuple[Stage, Container]]:
    with running_servers("audience") as servers:
        os.environ.update(await _environment(servers))
        mint = TokenMint()
        organisation_id = new_id()
        database = await asyncpg.connect(
            servers.postgres.url, database="bench", server_settings={"search_path": "campaigns"}
        )
        list_ids, subscriptions = await fill(database, organisation_id, contacts)
        _say(f"{contacts:,} contacts, {len(list_ids)} lists, {subscriptions:,} subscriptions")
        async with bootstrap(load_settings(Settings)) as opened:
            container = dataclasses.replace(opened, identity=mint.identity("campaigns"))
            transport = httpx.ASGITransport(build_app(container))
            token = mint.access_token(organisation_id, ROLE_PERMISSIONS[Role.OWNER])
            service = mint.service_token("mailer", "campaigns")
            async with httpx.AsyncClient(transport=transport, base_url="http://campaigns", timeout=120) as http:
                # As the service does when it has started.
                gc.collect()
                gc.freeze()
                gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
                headers, own = ({"Authorization": f"Bearer {each}"} for each in (token, service))
                yield Stage(database, http, headers, own, list_ids, contacts), container
        await database.close()


async def _environment(servers: Servers) -> dict[str, str]:
    known = load_or_create_secrets(servers.postgres.folder / "secrets.json")
    urls = await provision(servers.postgres.url, database="bench", passwords={"campaigns": secrets.token_urlsafe(24)})
    await migrations.upgrade(urls["campaigns"], MIGRATIONS)
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    return service_environment("campaigns", ports=ports, servers=servers.urls, database_urls=urls, secrets=known)


async def _timed(stage: Stage, name: str, calls: Iterable[Callable[[], Awaitable[Any]]]) -> float:
    """Make calls one after the other; print their times in milliseconds and return the 95th percentile."""
    times = []
    before = await stage.full_reads()
    for call in calls:
        started = time.perf_counter()
        await call()
        times.append((time.perf_counter() - started) * 1000)
    reads = await stage.full_reads() - before
    p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    _say(
        f"{name:46} n {len(times):4}  median {statistics.median(times):8.1f} ms  p95 {p95:8.1f} ms  full reads {reads}"
    )
    return p95


async def _pages(stage: Stage, requests: int) -> tuple[float, float]:
    """Measure pages of contacts at random places, of lists, and searches; return two p95."""
    cursors = [
        orjson.dumps([str(UUID(int=(0x0199 << 112) + random.randrange(stage.contacts)))]) for _ in range(requests)
    ]
    texts = [_cursor(cursor) for cursor in cursors]
    lists = [random.choice(stage.list_ids) for _ in range(requests)]

    def page(position: int) -> Callable[[], Awaitable[Any]]:
        return lambda: stage.get(f"/v1/contacts?list_id={lists[position]}&limit=50&cursor={texts[position]}")

    def search() -> Callable[[], Awaitable[Any]]:
        return lambda: stage.get(f"/v1/contacts?search=reader.{random.randrange(10, 10_000)}&limit=50")

    await stage.get("/v1/contacts?limit=1")
    everybody = [lambda text=text: stage.get(f"/v1/contacts?limit=50&cursor={text}") for text in texts]
    await _timed(stage, "page of all contacts", everybody)
    of_list = await _timed(stage, "page of a list's contacts", [page(number) for number in range(requests)])
    found = await _timed(stage, "search by address prefix", [search() for _ in range(requests)])
    await _timed(stage, "page of 50 lists with their counts", [lambda: stage.get("/v1/lists?limit=50")] * 5)
    return of_list, found


def _cursor(document: bytes) -> str:
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


async def _segments(stage: Stage) -> dict[str, float]:
    for key, kind in (("plan", "string"), ("visits", "number")):
        await stage.post("/v1/contact-attributes", {"key": key, "type": kind})
    _RULES["an attribute, a list and not opened"]["all"][1]["list"] = str(stage.list_ids[0])
    return {
        name: await _timed(
            stage,
            f"count: {name}",
            [lambda rule=rule: stage.post("/v1/segments/preview", {"rule": rule, "sample": 10})] * 5,
        )
        for name, rule in _RULES.items()
    }


async def _indexed_segments(stage: Stage, container: Container) -> float:
    """Count by an indexed attribute, rare values and frequent ones; return the p95 of the rare ones."""
    declared = (await stage.get("/v1/contact-attributes"))["items"]
    started = time.perf_counter()
    for each in declared:
        await stage.patch(f"/v1/contact-attributes/{each['id']}", {"indexed": True})
    while not all(each["index_ready"] for each in (await stage.get("/v1/contact-attributes"))["items"]):
        await container.declaring_attributes.build_indexes()
    _say(f"{len(declared)} indexes of attributes built in {time.perf_counter() - started:.1f} s")
    await stage.database.execute("VACUUM ANALYZE contact_attribute_values")
    rules = {"one contact in a thousand": {"attribute": "visits", "is": 7}, "one in four": _RULES["an attribute"]}
    rare, _ = [
        await _timed(
            stage,
            f"count: an indexed attribute, {name}",
            [lambda rule=rule: stage.post("/v1/segments/preview", {"rule": rule, "sample": 10})] * 5,
        )
        for name, rule in rules.items()
    ]
    return rare


async def _audiences(stage: Stage, container: Container) -> float:
    """Read two audiences page by page, as the mailer does; return the contacts per second of the plain one."""
    template = await stage.post(
        "/v1/templates",
        {"name": "x", "subject": "Hello {{ contact.first_name }}", "html": "<p>{{ contact.attributes.plan }}</p>"},
    )
    rule = {"not": {"engagement": "opened", "within_days": 90}}
    segment = await stage.post("/v1/segments", {"name": "x", "rule": rule})
    rates = []
    for name, fields in (("of a list", {}), ("of a list, by a segment", {"segment_ids": [segment["id"]]})):
        body = {
            "name": "x",
            "template_id": template["id"],
            "list_ids": [str(stage.list_ids[0])],
            "from_name": "Books",
            "from_email": "post@example.com",
            **fields,
        }
        campaign = await stage.post("/v1/campaigns", body)
        await stage.post(f"/v1/campaigns/{campaign['id']}/actions/send", None)
        started = time.perf_counter()
        await container.starting_campaigns.start_due_campaigns()
        launch = time.perf_counter() - started
        before = await stage.full_reads()
        started, members, cursor = time.perf_counter(), 0, ""
        while cursor is not None:
            page = await stage.get(f"/internal/campaigns/{campaign['id']}/audience?limit=5000{cursor}")
            members += len(page["members"])
            cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
        seconds = time.perf_counter() - started
        rates.append(members / seconds)
        reads = await stage.full_reads() - before
        _say(
            f"audience {name:37} {members:,} contacts, {members / seconds:,.0f} a second, "
            f"launch {launch * 1000:.0f} ms, full reads {reads}"
        )
    return rates[0]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _measure(contacts: int, requests: int) -> None:
    async with _stage(contacts) as (stage, container):
        of_list, found = await _pages(stage, requests)
        counts = await _segments(stage)
        indexed = await _indexed_segments(stage, container)
        rate = await _audiences(stage, container)
    _say(
        f"bench-audience: contacts={contacts} list_page_p95_ms={of_list:.1f} search_p95_ms={found:.1f} "
        f"segment_count_p95_ms={max(counts.values()):.0f} "
        f"indexed_count_p95_ms={indexed:.1f} audience_per_second={rate:.0f}"
    )


def main(
    contacts: Annotated[int, typer.Option(min=1000)] = 1_000_000,
    requests: Annotated[int, typer.Option(min=10, help="Requests for each kind of page.")] = 200,
) -> None:
    """Measure."""
    os.chdir(REPOSITORY)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    uvloop.run(_measure(contacts, requests))


if __name__ == "__main__":
    typer.run(main)
