"""`make bench-import`: a file of contacts through the importer, beside PostgreSQL's own COPY of the same file.

The file goes the whole way: received and stored in pieces, announced in Redis, taken in chunk by chunk by a process of
the campaigns service that has all roles.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import typer
import uvloop

from benchmarks.harness.cpu import CpuMeter, peak_memory_mb
from benchmarks.harness.results import Figures, last_line, machine, medians, table, write_json
from benchmarks.harness.servers import BENCH_FOLDER, Servers, running_servers
from benchmarks.harness.services import service_process
from posthorn_campaigns.app.receiving_imports import NewImport
from posthorn_campaigns.bootstrap import MIGRATIONS, Container, bootstrap
from posthorn_campaigns.domain.attributes import AttributeType
from posthorn_campaigns.domain.imports import ImportMode, ImportStatus
from posthorn_campaigns.settings import Settings
from posthorn_common import migrations
from posthorn_common.clock import new_id
from posthorn_common.settings import load_settings
from posthorn_local.environment import SERVICES, service_environment
from posthorn_local.paths import REPOSITORY
from posthorn_local.ports import free_ports
from posthorn_local.provisioning import provision
from posthorn_local.secrets_file import load_or_create_secrets

_HEADER = "email,first_name,last_name,city,plan,visits,signed_up,language\n"
_COLUMNS = {
    "rows_per_second": ",.0f", "seconds": ".1f", "cpu_us": ".1f", "worker_us": ".1f", "postgres_us": ".1f",
    "rss_mb": ".0f",
}  # fmt: skip
_TYPES = {"visits": AttributeType.NUMBER, "signed_up": AttributeType.DATE}
_CITIES = ("Lisbon", "Paris", "Rome", "Oslo", "Vienna", "Athens", "Malmö", "Kraków")
_PLANS = ("free", "pro", "team")
_TEXTS = "email text, first_name text, last_name text, city text, plan text, visits text, signed_up text, language text"
_COPY, _COPY_INDEXED = "COPY into a bare table", "COPY into a table indexed as contacts are"
_IMPORT, _AGAIN = "import, new contacts", "import of the same file again"
_LISTED, _INDEXED = "import, new contacts, into a list", "import, new contacts, all five attributes indexed"
_EMPTY = "TRUNCATE contacts, subscriptions, subscription_changes, contact_attribute_values CASCADE"
_LOOK_SECONDS = 0.1
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class _Bench:
    servers: Servers
    database: asyncpg.Connection = field(repr=False)
    container: Container = field(repr=False)
    worker_pid: int
    file: Path
    rows: int

    async def measure(self, work: Callable[[], Any]) -> Figures:
        """Return what some work costs per row."""
        await self.database.execute("CHECKPOINT")
        meter = CpuMeter({"worker": [self.worker_pid], "postgres": self.servers.pids["postgres"]})
        meter.start()
        begun = time.perf_counter()
        await work()
        seconds = time.perf_counter() - begun
        per_row = {name: used / self.rows * 1e6 for name, used in meter.read().items()}
        return {
            "rows_per_second": self.rows / seconds,
            "seconds": seconds,
            "cpu_us": sum(per_row.values()),
            "worker_us": per_row["worker"],
            "postgres_us": per_row["postgres"],
        }

    async def copy(self) -> None:
        """Have PostgreSQL take the file in by itself."""
        with self.file.open("rb") as source:
            await self.database.copy_to_table("copied", source=source, format="csv", header=True, columns=_names())

    async def empty(self) -> None:
        """Delete all contacts. The service's own loops may be reading: whoever is in each other's way tries again."""
        while True:
            try:
                await self.database.execute(_EMPTY)
            except asyncpg.DeadlockDetectedError:
                continue
            return

    async def import_into(self, organisation_id: UUID, list_id: UUID | None = None) -> None:
        """Have the service take the file in."""
        wanted = NewImport(list_id=list_id, mode=ImportMode.UPSERT)
        job = await self.container.receiving_imports.receive(organisation_id, wanted, _blocks(self.file))
        while job.status is not ImportStatus.COMPLETED:
            await asyncio.sleep(_LOOK_SECONDS)
            job = await self.container.receiving_imports.get(organisation_id, job.id)
            if job.status in {ImportStatus.FAILED, ImportStatus.CANCELLED} or job.rejected:
                raise RuntimeError(f"the import has gone wrong: {job.status}, {job.rejected} rejected")


async def _measure(rows: int, rounds: int) -> None:
    found: dict[str, list[Figures]] = {}
    async with _stage(rows) as bench:
        for number in range(rounds):
            for name, figures in (await _round(bench)).items():
                found.setdefault(name, []).append(figures)
            _say(f"round {number + 1} of {rounds} done")
        memory = peak_memory_mb(bench.worker_pid)
    rows_of = {name: medians(figures) for name, figures in found.items()}
    for name in (_IMPORT, _AGAIN, _LISTED, _INDEXED):
        rows_of[name] = {**rows_of[name], "rss_mb": memory}
    write_json("imports", {"machine": machine(), "rows": rows, "rounds": found, "medians": rows_of})
    _say(table(rows_of, _COLUMNS))
    taken = rows_of[_IMPORT]
    last = {
        "rows": str(rows),
        "rows_per_second": f"{taken['rows_per_second']:.0f}",
        "cpu_us_per_row": f"{taken['cpu_us']:.1f}",
        "ratio_to_copy": f"{taken['cpu_us'] / rows_of[_COPY]['cpu_us']:.1f}",
        "ratio_to_indexed_copy": f"{taken['cpu_us'] / rows_of[_COPY_INDEXED]['cpu_us']:.1f}",
        "seconds_ratio_to_indexed_copy": f"{taken['seconds'] / rows_of[_COPY_INDEXED]['seconds']:.1f}",
        "worker_rss_mb": f"{memory:.0f}",
    }
    _say(last_line("bench-import", last))


async def _round(bench: _Bench) -> dict[str, Figures]:
    figures: dict[str, Figures] = {}
    await bench.database.execute(f"CREATE TABLE copied ({_TEXTS})")
    figures[_COPY] = await bench.measure(bench.copy)
    await bench.database.execute("DROP TABLE copied")
    await bench.database.execute(
        f"CREATE TABLE copied (LIKE contacts INCLUDING DEFAULTS INCLUDING INDEXES); "
        f"ALTER TABLE copied {', '.join(f'ADD {name} text' for name in _names()[3:])}, "
        f"ALTER id SET DEFAULT gen_random_uuid(), ALTER organisation_id SET DEFAULT '{new_id()}', "
        "ALTER attributes SET DEFAULT '{}', ALTER status SET DEFAULT 'active', ALTER created_at SET DEFAULT now(), "
        "ALTER updated_at SET DEFAULT now()"
    )
    figures[_COPY_INDEXED] = await bench.measure(bench.copy)
    await bench.database.execute("DROP TABLE copied")
    organisation_id = new_id()
    figures[_IMPORT] = await bench.measure(lambda: bench.import_into(organisation_id))
    figures[_AGAIN] = await bench.measure(lambda: bench.import_into(organisation_id))
    await bench.empty()
    counted = await bench.container.managing_lists.add(organisation_id, "Readers", "")
    figures[_LISTED] = await bench.measure(lambda: bench.import_into(organisation_id, counted.contact_list.id))
    await bench.empty()
    organisation_id = new_id()
    for name in _names()[3:]:
        await bench.container.declaring_attributes.declare(
            organisation_id, name, _TYPES.get(name, AttributeType.STRING), required=False, description="", indexed=True
        )
    while not all(each.index_ready for each in await bench.container.declaring_attributes.find(organisation_id)):
        await bench.container.declaring_attributes.build_indexes()
    figures[_INDEXED] = await bench.measure(lambda: bench.import_into(organisation_id))
    await bench.empty()
    return figures


@contextlib.asynccontextmanager
async def _stage(rows: int) -> AsyncGenerator[_Bench]:
    with running_servers("imports") as servers:
        file = servers.postgres.folder / "contacts.csv"
        _write(file, rows)
        known = load_or_create_secrets(servers.postgres.folder / "secrets.json")
        urls = await provision(
            servers.postgres.url, database="bench", passwords={"campaigns": secrets.token_urlsafe(24)}
        )
        await migrations.upgrade(urls["campaigns"], MIGRATIONS)
        ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        environment = service_environment(
            "campaigns", ports=ports, servers=servers.urls, database_urls=urls, secrets=known
        )
        os.environ.update(environment)
        log_file = BENCH_FOLDER / "logs" / "campaigns.log"
        async with contextlib.AsyncExitStack() as stack:
            worker = await stack.enter_async_context(service_process("campaigns", environment, log_file=log_file))
            container = await stack.enter_async_context(bootstrap(load_settings(Settings)))
            database = await asyncpg.connect(
                servers.postgres.url, database="bench", server_settings={"search_path": "campaigns"}
            )
            stack.push_async_callback(database.close)
            yield _Bench(servers, database, container, worker.pid, file, rows)


def _write(file: Path, rows: int) -> None:
    with file.open("w", encoding="utf-8") as target:
        target.write(_HEADER)
        for number in range(rows):
            shuffled = number * 2_654_435_761 % 2**32
            target.write(
                f"reader.{shuffled:08x}@mail{number % 5000}.example.com,Ann{number % 800},Lee{number % 9000},"
                f"{_CITIES[number % 8]},{_PLANS[number % 3]},{number % 97},2026-0{number % 9 + 1}-17,en-GB\n"
            )


def _names() -> list[str]:
    return _HEADER.strip().split(",")


async def _blocks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            yield block


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the file.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured; the medians count.")] = 1,
) -> None:
    """Measure."""
    os.chdir(REPOSITORY)
    uvloop.run(_measure(rows, rounds))


if __name__ == "__main__":
    typer.run(main)
