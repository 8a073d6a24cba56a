"""Connections that are used again, and replies that are never credited to another message."""

from __future__ import annotations

import asyncio

import pytest

from posthorn_mailer.adapters.smtp import ReuseLimits
from posthorn_mailer.adapters.smtp.pool import RelayPool
from posthorn_mailer.app.ports_transport import Withdrawn
from posthorn_mailer.domain.replies import Outcome, Stage, classify

from .smtp_peer import SHORT, Peer, a_message, a_relay, a_transport, eventually

pytestmark = pytest.mark.integration


async def test_a_connection_is_used_again_and_cleaned_after_a_refused_recipient() -> None:
    async with Peer({"RCPT": ["550 5.1.1 no", "250 ok"]}).listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port)
        attempts = [await transport.send(relay, a_message()) for _ in range(3)]
    assert [attempt.code for attempt in attempts] == [550, 250, 250]
    assert peer.connections == 1
    verbs = [command.split(" ")[0] for command in peer.commands]
    assert verbs == ["EHLO", "MAIL", "RCPT", "RSET", *["MAIL", "RCPT", "DATA"] * 2, "QUIT"]


async def test_a_late_reply_is_never_credited_to_the_next_message() -> None:
    # The first message's 250 comes after we have given up on it; the second is refused.
    script: dict[str, object] = {"dot": [3 * SHORT, "554 5.6.0 refused"]}
    async with Peer(script).listening() as peer, a_transport(seconds=SHORT) as transport:
        relay = a_relay(peer.port)
        first = await transport.send(relay, a_message("one@example.com"))
        second = await transport.send(relay, a_message("two@example.com"))
    assert classify(first).outcome is Outcome.AMBIGUOUS
    assert (second.stage, second.code) == (Stage.CONTENT, 554)
    assert peer.connections == 2


async def test_a_reply_too_many_is_never_credited_to_the_next_command() -> None:
    script: dict[str, object] = {"dot": ["250 2.0.0 queued\r\n250 2.0.0 queued twice"], "MAIL": ["250 ok", "550 no"]}
    async with Peer(script).listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port)
        assert (await transport.send(relay, a_message())).code == 250
        second = await transport.send(relay, a_message())
    assert (second.stage, second.code) == (Stage.MAIL, 550)
    assert peer.connections == 2


async def test_a_relay_that_answers_before_the_end_of_the_content_gets_no_rest_of_it_as_commands() -> None:
    async with Peer().listening() as peer, a_transport() as transport:
        original = peer._answer

        async def too_soon(step: str, default: str, writer: asyncio.StreamWriter) -> bool:
            going_on = await original(step, default, writer)
            if step == "DATA":
                peer.pause_reading(writer)
                await asyncio.sleep(0.1)
                writer.write(b"552 5.3.4 too large\r\n")
                await writer.drain()
            return going_on

        peer._answer = too_soon  # type: ignore[method-assign]
        relay = a_relay(peer.port)
        content = b"Subject: x\r\n\r\n" + (b"y" * 900 + b"\r\n") * 20_000
        attempt = await transport.send(relay, a_message(content=content))
        assert (attempt.stage, attempt.code) == (Stage.CONTENT, 552)
        await transport.send(relay, a_message(content=content))
    assert peer.connections == 2


async def test_what_comes_unasked_between_messages_is_never_credited() -> None:
    async with Peer({"MAIL": ["250 ok", "550 5.7.1 no"]}).listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port)
        original = peer._answer

        async def and_more(step: str, default: str, writer: asyncio.StreamWriter) -> bool:
            going_on = await original(step, default, writer)
            if step == "dot":
                await asyncio.sleep(0.05)
                writer.write(b"250 2.0.0 unasked\r\n")
                await writer.drain()
            return going_on

        peer._answer = and_more  # type: ignore[method-assign]
        assert (await transport.send(relay, a_message())).code == 250
        await asyncio.sleep(0.2)
        assert (await transport.send(relay, a_message())).code == 550


@pytest.mark.parametrize("farewell", ["close", "421 4.4.2 idle too long"])
async def test_an_idle_connection_that_the_relay_has_closed_costs_no_attempt(farewell: str) -> None:
    async with Peer({"MAIL": ["250 ok", farewell, "250 ok"]}).listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port)
        attempts = [await transport.send(relay, a_message()) for _ in range(2)]
    assert [attempt.code for attempt in attempts] == [250, 250]
    assert peer.connections == 2
    assert len(peer.contents) == 2


async def test_a_message_that_may_not_go_is_not_even_begun() -> None:
    async with Peer().listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port)
        with pytest.raises(Withdrawn):
            await transport.send(relay, a_message(), lambda: False)
        assert (await transport.send(relay, a_message())).code == 250
        assert [command.split(" ")[0] for command in peer.commands] == ["EHLO", "MAIL", "RCPT", "DATA"]
        assert (peer.connections, len(peer.contents)) == (1, 1)


async def test_a_message_that_may_not_go_any_more_when_its_content_is_asked_for_is_not_sent() -> None:
    answers = iter([True, False])
    async with Peer().listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port)
        with pytest.raises(Withdrawn):
            await transport.send(relay, a_message(), lambda: next(answers))
        assert (await transport.send(relay, a_message("other@example.com"))).code == 250
        assert peer.connections == 2, "the relay had been promised content"
        assert [command for command in peer.commands if command.startswith("RCPT")] == [
            "RCPT TO:<friend@example.com>",
            "RCPT TO:<other@example.com>",
        ]
        assert len(peer.contents) == 1


async def test_connections_are_not_used_for_ever() -> None:
    async with Peer().listening() as peer:
        async with a_transport(messages=2) as transport:
            relay = a_relay(peer.port)
            for _ in range(5):
                await transport.send(relay, a_message())
        assert peer.connections == 3
        async with a_transport(idle_seconds=0.05) as transport:
            await transport.send(relay, a_message())
            await eventually(lambda: peer.commands[-1] == "QUIT")
            await transport.send(relay, a_message())
    assert peer.connections == 5


async def test_no_more_connections_are_open_than_the_relay_allows() -> None:
    open_now: list[int] = []
    async with Peer({"MAIL": 0.02}).listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port, max_connections=3)
        attempts = await asyncio.gather(*(transport.send(relay, a_message()) for _ in range(20)))
        open_now.append(peer.connections)
    assert {attempt.code for attempt in attempts} == {250}
    assert open_now == [3]
    assert len(peer.contents) == 20


async def test_a_connection_that_says_good_bye_counts_until_it_is_closed() -> None:
    async with Peer({"QUIT": 0.05}).listening() as peer, a_transport(messages=1) as transport:
        relay = a_relay(peer.port, max_connections=2)
        attempts = await asyncio.gather(*(transport.send(relay, a_message()) for _ in range(8)))
    assert {attempt.code for attempt in attempts} == {250}
    assert (peer.connections, peer.most_open) == (8, 2)


async def test_who_gives_up_waiting_for_a_connection_takes_none_away() -> None:
    pool = RelayPool(1, ReuseLimits())
    assert await pool.take() is None
    impatient, unlucky, patient = (asyncio.create_task(pool.take()) for _ in range(3))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    pool.give_back(None)
    unlucky.cancel()  # it has been handed the right to open one, and does not know yet
    assert await patient is None
    assert impatient.cancelled()
    assert unlucky.cancelled()


async def test_connections_that_failed_make_room_for_others() -> None:
    async with Peer({"banner": ["421 busy"] * 3}).listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port, max_connections=1)
        attempts = await asyncio.gather(*(transport.send(relay, a_message()) for _ in range(5)))
    assert [attempt.code for attempt in attempts] == [421, 421, 421, 250, 250]
    assert peer.most_open == 1


async def test_changed_settings_are_used_for_the_next_message() -> None:
    async with Peer().listening() as old, Peer().listening() as new, a_transport() as transport:
        relay = a_relay(old.port)
        await transport.send(relay, a_message())
        changed = a_relay(new.port, id=relay.id, version=2)
        await transport.send(changed, a_message())
        await eventually(lambda: old.commands[-1] == "QUIT")
    assert (len(old.contents), len(new.contents)) == (1, 1)


async def test_a_cancelled_send_leaves_no_connection_behind_and_blocks_nobody() -> None:
    async with Peer({"dot": ["silence"]}).listening() as peer, a_transport() as transport:
        relay = a_relay(peer.port, max_connections=1)
        hanging = asyncio.create_task(transport.send(relay, a_message("one@example.com")))
        await eventually(lambda: peer.contents)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert (await transport.send(relay, a_message("two@example.com"))).code == 250
    assert peer.connections == 2


async def test_one_silent_relay_does_not_hold_up_another() -> None:
    async with Peer({"MAIL": "silence"}).listening() as silent, Peer().listening() as well, a_transport() as transport:
        hanging = asyncio.create_task(transport.send(a_relay(silent.port), a_message()))
        await eventually(lambda: silent.commands)
        assert (await transport.send(a_relay(well.port), a_message())).code == 250
        assert not hanging.done()
        hanging.cancel()


async def test_closing_says_good_bye() -> None:
    async with Peer().listening() as peer:
        async with a_transport() as transport:
            await transport.send(a_relay(peer.port), a_message())
        assert peer.commands[-1] == "QUIT"
