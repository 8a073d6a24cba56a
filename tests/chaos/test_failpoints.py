"""One crash at each step of the sending protocol, T0 to T9, with the exact state that it leaves behind.

300 recipients are three batches; the process that dies is the only one that could do the work (see doomed.py). What it
leaves is compared as a whole, then others finish the campaign.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

import asyncpg
import pytest

from posthorn_local.plan import DATABASE
from posthorn_local.supervisor import ManagedProcess, stop_all
from posthorn_local.testing import product

from .fleet import Fleet, through
from .flights import ANSWER_SECONDS, CONNECTIONS, Flight

_RECIPIENTS = 300
_ONE_PAGE = {"POSTHORN_MAILER_AUDIENCE_PAGE_SIZE": "500", "POSTHORN_MAILER_BATCHES_PER_WORKER": "1"}
_SLOWLY = 5.0
"""Seconds until the relay answers where all connections have to be in the same state."""

_STATES = {
    table: f"SELECT state, count(*) FROM mailer.{table} WHERE send_id = $1 GROUP BY state"
    for table in ("deliveries", "batches")
}
_TOLD = "SELECT EXISTS (SELECT FROM {schema}.outbox WHERE event_type = $1 AND body LIKE $2)"
_SETTLING_SECONDS = 30
_SHORT = pytest.mark.e2e  # `make test` runs these, too


@dataclass(frozen=True)
class State:
    """What a crash leaves: in the tables of campaigns and mailer, in the outbox, and at the relay."""

    campaign: str = "sending"
    told: bool = False
    """Whether the event about it still waits in an outbox, published or not."""

    sends: int = 1
    planned: bool = True
    drained: bool = False
    deliveries: Mapping[str, int] = field(default_factory=dict)
    batches: Mapping[str, int] = field(default_factory=dict)
    accepted: int = 0


@dataclass(frozen=True)
class Point:
    """Where a process dies. `event` is what `State.told` asks for."""

    step: str
    name: str
    who: Literal["campaigns", "mailer", "worker"]
    state: State
    event: str = "campaigns.campaign.started.v1"
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(_ONE_PAGE))
    connections: int = CONNECTIONS
    answer_seconds: float = ANSWER_SECONDS

    @property
    def in_doubt(self) -> int:
        """Whoever is open at the crash is in doubt at the end, and nobody else."""
        return self.state.deliveries.get("sending", 0)


_UNPLANNED = State(planned=False)
_PENDING = {"pending": 300}
_READY = {"ready": 3}
_LEASED = {"leased": 1, "ready": 2}
_OPEN = {"pending": 290, "sending": 10}
_SENT, _DONE = {"sent": 300}, {"done": 3}
_TWO_PAGES: Mapping[str, str] = MappingProxyType({})
_DRAINED = "mailer.send.drained.v1"
_PAGE_STORED = State(planned=False, deliveries={"pending": 200}, batches={"ready": 2})
_PLANNED = State(deliveries=_PENDING, batches=_READY)
_CLAIMED = State(deliveries=_PENDING, batches=_LEASED)
_OPENED = State(deliveries=_OPEN, batches=_LEASED)
_TAKEN = replace(_OPENED, accepted=10)

_POINTS = [
    Point("T0", "launch, uncommitted", "campaigns", State("scheduled", sends=0, planned=False)),
    Point("T0", "launch, committed", "campaigns", State(told=True, sends=0, planned=False)),
    Point("T0", "launch, claimed by the relay", "campaigns", State(told=True, sends=0, planned=False)),
    Point("T0", "launch, published", "campaigns", replace(_UNPLANNED, told=True)),
    Point("T1", "order, uncommitted", "mailer", State(sends=0, planned=False)),
    Point("T1", "order, committed", "mailer", _UNPLANNED),
    Point("T1", "first page, uncommitted", "worker", _UNPLANNED, settings=_TWO_PAGES),
    Point("T1", "first page, committed", "worker", _PAGE_STORED, settings=_TWO_PAGES),
    Point("T2", "last page, uncommitted", "worker", _PAGE_STORED, settings=_TWO_PAGES),
    Point("T3", "last page, committed", "worker", _PLANNED, settings=_TWO_PAGES),
    Point("T4", "claim, uncommitted", "worker", _PLANNED),
    Point("T4", "claim, committed", "worker", _CLAIMED),
    Point("T5", "open, unwritten", "worker", _CLAIMED),
    Point("T5", "open, written", "worker", _OPENED),
    Point("T6", "content about to leave", "worker", _OPENED),
    Point("T6", "content has left", "worker", _TAKEN, answer_seconds=2 * _SLOWLY),
    Point("T6", "answered", "worker", _TAKEN, answer_seconds=_SLOWLY),
    Point("T7", "close, unwritten", "worker", _TAKEN, answer_seconds=_SLOWLY),
    Point("T7", "close, written", "worker", State(
        deliveries={"pending": 298, "sending": 1, "sent": 1}, batches=_LEASED, accepted=1), connections=1),
    Point("T8", "batch done, uncommitted", "worker", State(
        deliveries={"pending": 200, "sent": 100}, batches=_LEASED, accepted=100)),
    Point("T8", "batch done, committed", "worker", State(
        deliveries={"pending": 200, "sent": 100}, batches={"done": 1, "ready": 2}, accepted=100)),
    Point("T9", "drained, uncommitted", "worker", State(deliveries=_SENT, batches=_DONE, accepted=300)),
    Point("T9", "drained, committed", "worker", State(
        "completed", drained=True, deliveries=_SENT, batches=_DONE, accepted=300)),
    Point("T9", "drained, published", "mailer", State(
        "completed", told=True, drained=True, deliveries=_SENT, batches=_DONE, accepted=300), event=_DRAINED),
]  # fmt: skip
_IN_SHORT = {"launch, published", "claim, committed", "open, written", "content has left"}


@pytest.fixture(scope="session")
def small_account(new_account: Any) -> Any:
    """An organisation with few contacts."""
    return new_account(_RECIPIENTS)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, id=f"{point.step}: {point.name}", marks=[_SHORT] if point.name in _IN_SHORT else [])
        for point in _POINTS
    ],
)
async def test_a_process_dies_at(point: Point, launch: Any, fleet: Any, small_account: Any) -> None:
    doomed = _doomed(fleet, point)
    workers = 1 if point.event == _DRAINED else 0

    def prepare() -> None:
        fleet.complete(workers=workers)
        stop_all(fleet.alive()[workers:])
        fleet.relay.follow(delay_seconds=point.answer_seconds)
        if point.who == "worker":
            doomed.start()
        else:
            fleet.service(point.who).stop()
            fleet.stack.start_service(point.who, doomed)

    flight = await launch(
        f"{point.step} {point.name}", by=small_account, prepare=prepare, connections=point.connections
    )
    await _ended(doomed)
    assert await _settled_state(flight, point) == point.state
    fleet.relay.follow(delay_seconds=ANSWER_SECONDS)
    await asyncio.to_thread(fleet.complete, workers=1)

    figures = await flight.ends(in_doubt_at_most=point.in_doubt)
    assert figures.ambiguous == point.in_doubt
    sent_by_then = point.state.deliveries.get("sent", 0)
    assert figures.accepted == _RECIPIENTS - point.in_doubt + point.state.accepted - sent_by_then


def _doomed(fleet: Fleet, point: Point) -> ManagedProcess:
    """Return the process that dies, in the place of the one that it is like."""
    if point.who == "worker":
        return through("doomed.py", "mailer", point.name, fleet.odd_worker(), point.settings)
    return through("doomed.py", point.who, point.name, fleet.service(point.who), point.settings)


async def _ended(doomed: ManagedProcess) -> None:
    """Wait until it has died of itself, by SIGKILL."""

    async def running() -> bool:
        return doomed.process() is not None

    try:
        await product.eventually(running, lambda runs: not runs, seconds=120)
    except TimeoutError:
        doomed.kill()
        raise


async def _settled_state(flight: Flight, point: Point) -> State:
    """Return what is left as soon as it is as expected, or else what it is when everybody has heard everything."""
    found = await _state(flight, point)
    for _ in range(_SETTLING_SECONDS):
        if found == point.state:
            break
        await asyncio.sleep(1)
        found = await _state(flight, point)
    return found


async def _state(flight: Flight, point: Point) -> State:
    url = flight.fleet.stack.plan.servers.postgres_admin
    connection = await asyncpg.connect(url, database=DATABASE)
    try:
        campaign_id = UUID(flight.campaign_id)
        campaign = await connection.fetchval("SELECT status FROM campaigns.campaigns WHERE id = $1", campaign_id)
        sends = await connection.fetch("SELECT planned_at, drained_at FROM mailer.sends WHERE id = $1", campaign_id)
        states: dict[str, dict[str, int]] = {
            table: {row["state"]: row["count"] for row in await connection.fetch(_STATES[table], campaign_id)}
            for table in _STATES
        }
        told = await connection.fetchval(
            _TOLD.format(schema=point.event.partition(".")[0]), point.event, f"%{campaign_id}%"
        )
    finally:
        await connection.close()
    return State(
        campaign=campaign,
        told=told,
        sends=len(sends),
        planned=any(send["planned_at"] for send in sends),
        drained=any(send["drained_at"] for send in sends),
        accepted=flight.accepted(),
        **states,
    )
