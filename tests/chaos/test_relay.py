"""The relay that mail is handed to misbehaves."""

from __future__ import annotations

import asyncio
from typing import Any

from posthorn_local.testing.counting_relay.faults import Fault

from .flights import ANSWER_SECONDS, RECIPIENTS


def _struck(fleet: Any, name: str) -> int:
    return int(fleet.relay.counts()["struck"].get(name, 0))


async def test_connections_are_cut_before_the_final_dot(launch: Any, fleet: Any) -> None:
    flight = await launch("connection cut before the dot", [Fault("content", "close", share=0.01)])
    figures = await flight.ends(in_doubt_at_most=lambda: _struck(fleet, "content close"))
    assert _struck(fleet, "content close")
    assert figures.accepted == figures.recipients - figures.ambiguous


async def test_connections_are_cut_after_the_final_dot(launch: Any, fleet: Any) -> None:
    flight = await launch("connection cut after the dot", [Fault("dot", "close", share=0.01)])
    figures = await flight.ends(in_doubt_at_most=lambda: _struck(fleet, "dot close"))
    assert figures.ambiguous == _struck(fleet, "dot close") > 0
    assert figures.accepted == figures.recipients - figures.ambiguous


async def test_the_relay_takes_messages_and_cuts_the_connection(launch: Any, fleet: Any) -> None:
    flight = await launch("taken, and connection cut", [Fault("dot", "close", share=0.01, taken=True)])
    figures = await flight.ends(in_doubt_at_most=lambda: _struck(fleet, "dot close"))
    assert figures.ambiguous == _struck(fleet, "dot close") > 0
    assert figures.accepted == figures.recipients


async def test_the_relay_is_a_black_hole_for_a_while(launch: Any, fleet: Any) -> None:
    flight = await launch("relay black-holed")
    await flight.under_way(0.3)
    fleet.relay.follow([Fault("connect", "silence"), Fault("mail", "silence"), Fault("dot", "silence")])
    await asyncio.sleep(10)
    unanswered = _struck(fleet, "dot silence")
    fleet.relay.follow(delay_seconds=ANSWER_SECONDS)
    await flight.ends(in_doubt_at_most=unanswered)


async def test_the_relay_answers_421_for_a_share(launch: Any, fleet: Any) -> None:
    # A dozen times each, however many recipients there are: every time the workers become slower for a while.
    share = 12 / RECIPIENTS
    faults = [Fault("mail", "reply", "421 4.3.2 Try again later", share=share),
              Fault("dot", "reply", "421 4.3.2 Try again later", share=share)]  # fmt: skip
    flight = await launch("421 for a share", faults)
    figures = await flight.ends()
    assert _struck(fleet, "mail reply")
    assert figures.accepted == figures.recipients


async def test_the_relay_answers_451_for_a_share(launch: Any, fleet: Any) -> None:
    flight = await launch("451 for a share", [Fault("rcpt", "reply", "451 4.2.1 Try again later", share=0.1)])
    figures = await flight.ends()
    assert _struck(fleet, "rcpt reply")
    assert figures.accepted == figures.recipients


async def test_the_relay_answers_550_for_a_share(launch: Any, fleet: Any, new_account: Any) -> None:
    # Whoever bounces is suppressed, so the audience that the others share is spared.
    account = await asyncio.to_thread(new_account)
    faults = [Fault("rcpt", "reply", "550 5.1.1 No such user", share=0.05)]
    flight = await launch("550 for a share", faults, by=account)
    figures = await flight.ends()
    refused = _struck(fleet, "rcpt reply")
    assert refused > 0
    assert figures.accepted == figures.recipients - refused
