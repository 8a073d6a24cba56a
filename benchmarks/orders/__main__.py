"""`make bench-orders`: how soon all workers obey, and how soon a single message overtakes a campaign.

The whole product runs: an order goes through the gateway, campaigns, its outbox, RabbitMQ and the mailer's database to
the workers, each a process of its own. The relay counts what it accepts, and when, by the clock that all share.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
import uvloop

from benchmarks.harness.results import last_line, machine, table, write_json
from posthorn_local.client import ApiClient, Json
from posthorn_local.stack import Stack
from posthorn_local.testing import product
from posthorn_local.testing.counting_relay.client import CountingRelay

_ROLES = {"mailer": "api,consumer,relay,scheduler"}
_STILL_SECONDS = 2.0
_GOING_SECONDS = 0.5
_CONNECTIONS = 20


@dataclass(frozen=True)
class _Scene:
    """A campaign that is being sent."""

    api: ApiClient
    relay: CountingRelay
    path: str
    letter: Json


def main(
    recipients: Annotated[int, typer.Option(help="Of the campaign; it must not end before the orders do.")] = 60_000,
    workers: Annotated[int, typer.Option(help="Processes that send.")] = 3,
    rounds: Annotated[int, typer.Option(help="How often it is paused and resumed.")] = 10,
) -> None:
    """Measure how soon orders are obeyed."""
    uvloop.run(_measure(recipients, workers, rounds))


async def _measure(recipients: int, workers: int, rounds: int) -> None:
    found: dict[str, list[float]] = {}
    async with _sending(recipients, workers) as scene:
        for _ in range(rounds):
            figures = {**await _overtaking(scene), **await _pausing(scene)}
            for name, milliseconds in figures.items():
                found.setdefault(name, []).append(milliseconds)
    rows = {name: {"median_ms": median(values), "worst_ms": max(values)} for name, values in found.items()}
    print(table(rows, {"median_ms": ",.0f", "worst_ms": ",.0f"}))
    write_json("orders", {"machine": machine(), "workers": workers, "rounds": rounds, "milliseconds": found})
    worst = {f"{name.replace(' ', '_')}_worst_ms": f"{row['worst_ms']:.0f}" for name, row in rows.items()}
    print(last_line("bench-orders", worst))


@contextlib.asynccontextmanager
async def _sending(recipients: int, workers: int) -> AsyncGenerator[_Scene]:
    """Have the product send a campaign, with workers in processes of their own."""
    with tempfile.TemporaryDirectory(prefix="posthorn-orders-") as name:
        stack, relay = Stack(Path(name), roles=_ROLES), CountingRelay(Path(name))
        try:
            relay.start()
            await asyncio.to_thread(stack.up, lambda _line: None)
            await asyncio.to_thread(stack.start_workers, workers)
            async with ApiClient(stack.plan.urls["gateway"]) as api:
                yield await _launched(api, relay, recipients)
        finally:
            relay.stop()
            stack.reset(lambda _line: None)


async def _launched(api: ApiClient, relay: CountingRelay, recipients: int) -> _Scene:
    await product.register_owner(api)
    audience = await product.add_audience(api, "Everybody", [f"reader.{n}@example.org" for n in range(recipients)])
    template = await product.add_template(api, "Orders")
    own_relay = await product.add_relay(api, relay.smtp_port, connections=_CONNECTIONS)
    campaign = await product.add_campaign(
        api, "Orders", template_id=template["id"], list_id=audience["id"], relay_id=own_relay["id"]
    )
    letter = {"to_email": "reader@example.net", "subject": "Your code", "text": "42", "from_email": "post@example.net"}
    scene = _Scene(api, relay, f"/v1/campaigns/{campaign['id']}", {**letter, "relay_id": own_relay["id"]})
    await api.post(f"{scene.path}/actions/send")
    await _going(scene, since=0)
    return scene


async def _going(scene: _Scene, *, since: int) -> None:
    """Wait until mail goes out."""

    async def messages() -> int:
        return int(scene.relay.counts()["messages"])

    await product.eventually(messages, lambda count: count > since, pause=0.005)


async def _pausing(scene: _Scene) -> dict[str, float]:
    """Pause, wait until it is still, and resume: milliseconds from each request to the last and first message."""
    before = await _ordered(scene, "pause")
    await asyncio.sleep(_STILL_SECONDS)
    last_at = scene.relay.counts()["last_at"]
    scene.relay.forget()
    resumed = await _ordered(scene, "resume")
    await _going(scene, since=0)
    first_at = scene.relay.counts()["first_at"]
    await asyncio.sleep(_GOING_SECONDS)
    return {"pause": max(last_at - before, 0.0) * 1000, "resume": (first_at - resumed) * 1000}


async def _ordered(scene: _Scene, verb: str) -> float:
    at = time.monotonic()
    campaign = await scene.api.post(f"{scene.path}/actions/{verb}")
    if campaign["status"] not in {"paused", "sending"}:
        raise RuntimeError(f"The campaign is {campaign['status']}: it needs more recipients.")
    return at


async def _overtaking(scene: _Scene) -> dict[str, float]:
    """Send a single message through the same relay: milliseconds until the API says that it is sent."""
    at = time.monotonic()
    message = await scene.api.post("/v1/messages", scene.letter)

    async def status() -> str:
        return str((await scene.api.get(f"/v1/messages/{message['id']}"))["status"])

    await product.eventually(status, lambda now: now == "sent", pause=0.005)
    return {"single message": (time.monotonic() - at) * 1000}


if __name__ == "__main__":
    typer.run(main)
