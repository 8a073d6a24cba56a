"""Relays that misbehave in every way, at every stage."""

from __future__ import annotations

import pytest

from posthorn_local.testing.smtp import RecordingSmtpServer
from posthorn_mailer.adapters.smtp import SmtpTimeouts
from posthorn_mailer.app.ports_transport import OutgoingMessage
from posthorn_mailer.domain.replies import Attempt, Outcome, Stage, classify

from .smtp_peer import CONTENT, LOST, NO_REPLY, SHORT, Peer, a_message, a_relay, a_transport

pytestmark = pytest.mark.integration


_HALF, _DRIP = "half 250-2.0.0 ok", "drip 2"
_WAYS_OF_SILENCE = {"silence", _HALF, _DRIP}

SCRIPTS: list[tuple[str, dict[str, object], Attempt, Outcome]] = [
    ("421 banner", {"banner": "421 4.3.2 busy"}, Attempt(Stage.CONNECT, 421, "4.3.2", "4.3.2 busy"), Outcome.DEFERRED),
    ("554 banner", {"banner": "554 no"}, Attempt(Stage.CONNECT, 554, None, "no"), Outcome.DEFERRED),
    ("silent banner", {"banner": "silence"}, Attempt(Stage.CONNECT, None, None, NO_REPLY), Outcome.DEFERRED),
    ("close at once", {"banner": "close"}, Attempt(Stage.CONNECT, None, None, LOST), Outcome.DEFERRED),
    ("silence at EHLO", {"EHLO": "silence"}, Attempt(Stage.CONNECT, None, None, NO_REPLY), Outcome.DEFERRED),
    *(
        case
        for step, stage in (("MAIL", Stage.MAIL), ("RCPT", Stage.RCPT), ("DATA", Stage.DATA), ("dot", Stage.CONTENT))
        for case in (
            (f"4xx at {step}", {step: "451 4.3.0 later"}, Attempt(stage, 451, "4.3.0", "4.3.0 later"),
             Outcome.DEFERRED),
            (f"5xx at {step}", {step: "554 5.6.0 never"}, Attempt(stage, 554, "5.6.0", "5.6.0 never"), Outcome.FAILED),
            (f"421 at {step}", {step: "421 bye"}, Attempt(stage, 421, None, "bye"), Outcome.DEFERRED),
            (f"silence at {step}", {step: "silence"}, Attempt(stage, None, None, NO_REPLY),
             Outcome.AMBIGUOUS if step == "dot" else Outcome.DEFERRED),
            (f"close at {step}", {step: "close"}, Attempt(stage, None, None, LOST),
             Outcome.AMBIGUOUS if step == "dot" else Outcome.DEFERRED),
            (f"reset at {step}", {step: "reset"}, Attempt(stage, None, None, LOST),
             Outcome.AMBIGUOUS if step == "dot" else Outcome.DEFERRED),
            (f"garbage at {step}", {step: "hello there"},
             Attempt(stage, None, None, "The reply is not SMTP: Malformed SMTP response line: hello there"),
             Outcome.AMBIGUOUS if step == "dot" else Outcome.DEFERRED),
            (f"a code of no meaning at {step}", {step: "999 what"},
             Attempt(stage, None, None, "The reply is not SMTP: 999 what"),
             Outcome.AMBIGUOUS if step == "dot" else Outcome.DEFERRED),
        )
    ),
    *(
        case
        for step, stage, outcome in (
            ("RCPT", Stage.RCPT, Outcome.DEFERRED), ("dot", Stage.CONTENT, Outcome.AMBIGUOUS))
        for case in (
            (f"half a line at {step}, and the end", {step: "cut 25"}, Attempt(stage, None, None, LOST), outcome),
            (f"one line of several at {step}, and the end", {step: "cut 250-2.0.0 ok\r\n"},
             Attempt(stage, None, None, LOST), outcome),
            (f"half a reply at {step}, and silence", {step: _HALF}, Attempt(stage, None, None, NO_REPLY), outcome),
            (f"a line without end at {step}", {step: _DRIP}, Attempt(stage, None, None, NO_REPLY), outcome),
            (f"a huge line at {step}", {step: "250 " + "x" * 9000},
             Attempt(stage, None, None, "The reply is not SMTP: Response too long"), outcome),
            (f"bytes that are no text at {step}", {step: "\x00\udcff\udcfe\x01"},
             Attempt(stage, None, None, "The reply is not SMTP: Malformed SMTP response line:"), outcome),
        )
    ),
    ("552 at RCPT", {"RCPT": "552 full"}, Attempt(Stage.RCPT, 552, None, "full"), Outcome.DEFERRED),
    ("unknown user", {"RCPT": "550 5.1.1 no such user"}, Attempt(Stage.RCPT, 550, "5.1.1", "5.1.1 no such user"),
     Outcome.BOUNCED),
    ("DATA taken for done", {"DATA": "250 2.0.0 ok"}, Attempt(Stage.DATA, 250, "2.0.0", "2.0.0 ok"), Outcome.DEFERRED),
    ("reply in several lines", {"RCPT": "550-5.1.1 no such user\r\n550-5.1.1 look at\r\n550 5.1.1 our page"},
     Attempt(Stage.RCPT, 550, "5.1.1", "5.1.1 no such user 5.1.1 look at 5.1.1 our page"), Outcome.BOUNCED),
    ("reply byte by byte", {"dot": "bytewise 250-2.0.0 queued\r\n250 2.0.0 as 42"},
     Attempt(Stage.CONTENT, 250, "2.0.0", "2.0.0 queued 2.0.0 as 42"), Outcome.SENT),
    ("slow replies", {"MAIL": 0.1, "RCPT": 0.1, "dot": 0.1}, Attempt(Stage.CONTENT, 250, "2.0.0", "2.0.0 queued"),
     Outcome.SENT),
    ("a reply that is not UTF-8", {"RCPT": "550 5.1.1 \udce4\udcf6"}, Attempt(Stage.RCPT, 550, "5.1.1", "5.1.1"),
     Outcome.BOUNCED),
]  # fmt: skip


_NEXT = b"Subject: The next\r\n\r\nUnharmed.\r\n"

WAYS = {
    "one by one": ["8BITMIME"],
    "pipelined": ["8BITMIME", "PIPELINING"],
    "in a chunk": ["8BITMIME", "CHUNKING"],
    "pipelined, in a chunk": ["8BITMIME", "CHUNKING", "PIPELINING"],
}


@pytest.mark.parametrize(
    ("script", "expected", "outcome", "extensions"),
    [
        pytest.param(*case, extensions, id=f"{name}, {way}")
        for way, extensions in WAYS.items()
        for name, *case in SCRIPTS
        if "CHUNKING" not in extensions or "DATA" not in case[0]  # who sends a chunk does not say DATA
    ],
)
async def test_every_misbehaviour_ends_the_attempt_exactly_where_it_happened(
    script: dict[str, object], expected: Attempt, outcome: Outcome, extensions: list[str]
) -> None:
    phase = "greeting" if expected.stage is Stage.CONNECT else expected.stage.value
    timeouts = SmtpTimeouts(**{phase: SHORT}) if _WAYS_OF_SILENCE & set(script.values()) else None
    async with Peer(script, extensions=extensions).listening() as peer, a_transport(timeouts=timeouts) as transport:
        relay = a_relay(peer.port)
        attempt = await transport.send(relay, a_message())
        first_contents, last_command = list(peer.contents), peer.commands[-1:]
        peer.script.clear()
        transport._timeouts = SmtpTimeouts()
        following = await transport.send(relay, a_message("next@example.com", _NEXT))
    assert attempt == expected
    assert classify(attempt).outcome is outcome
    if expected.stage is not Stage.CONTENT:
        assert first_contents == []
    if expected.stage is Stage.RCPT and expected.code in {550, 451, 552}:
        assert last_command == ["RSET"], "the connection was kept, and cleaned for the next message"
        assert peer.connections == 1
    assert following == Attempt(Stage.CONTENT, 250, "2.0.0", "2.0.0 queued"), "the next message is unharmed"
    assert peer.contents[len(first_contents) :] in ([_NEXT], [_NEXT + b".\r\n"])
    assert [line for line in peer.commands if line.startswith("RCPT")][-1].startswith("RCPT TO:<next@example.com>")


def test_relays_misbehave_in_many_ways() -> None:
    assert len({name for name, *_ in SCRIPTS}) == len(SCRIPTS) >= 50


async def test_a_closed_port_is_certain_non_delivery() -> None:
    async with Peer().listening() as peer:
        relay = a_relay(peer.port)
    async with a_transport() as transport:
        attempt = await transport.send(relay, a_message())
    assert attempt == Attempt(Stage.CONNECT, None, None, "The connection was refused")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 64 + ".invalid", "a..invalid"])
async def test_a_name_that_does_not_resolve_is_certain_non_delivery(host: str) -> None:
    async with a_transport() as transport:
        attempt = await transport.send(a_relay(25, host=host), a_message())
        assert await transport.probe(a_relay(25, host=host)) == attempt
    assert attempt == Attempt(Stage.CONNECT, None, None, "The relay's name cannot be resolved")


async def test_an_internal_address_is_not_connected_to_unless_allowed() -> None:
    async with Peer().listening() as peer, a_transport(allow_internal=False) as transport:
        for host in ("127.0.0.1", "localhost"):
            attempt = await transport.send(a_relay(peer.port, host=host), a_message())
            assert attempt.text == "The relay's address is in a network that is not allowed"
    assert peer.connections == 0


async def test_a_relay_that_knows_no_ehlo_is_greeted_the_old_way() -> None:
    async with Peer({"EHLO": "502 5.5.1 what"}).listening() as peer, a_transport() as transport:
        sent = await transport.send(a_relay(peer.port), a_message())
        eight_bit = await transport.send(a_relay(peer.port), a_message(content="Subject: x\r\n\r\nü\r\n".encode()))
    assert classify(sent).outcome is Outcome.SENT
    assert peer.commands[:3] == ["EHLO client.test", "HELO client.test", "MAIL FROM:<sender@example.org>"]
    assert (eight_bit.stage, eight_bit.enhanced) == (Stage.MAIL, "5.6.3")


@pytest.mark.parametrize(
    "flood",
    ["250 " + "x" * 9000, "\r\n".join(["250-" + "x" * 900] * 100), "x" * 100_000],
    ids=["an endless line", "endless lines", "endless garbage"],
)
async def test_a_reply_without_end_is_not_listened_to(flood: str) -> None:
    async with Peer({"MAIL": flood}).listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port), a_message())
    assert attempt == Attempt(Stage.MAIL, None, None, "The reply is not SMTP: Response too long")


async def test_a_reply_that_contradicts_itself_is_no_reply() -> None:
    async with Peer({"dot": "250-2.0.0 queued\r\n554 5.7.1 refused"}).listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port), a_message())
    assert attempt.text == "The reply is not SMTP: The lines of the reply contradict one another: 250 and 554"
    assert classify(attempt).outcome is Outcome.AMBIGUOUS


async def test_a_message_larger_than_the_relay_takes_is_not_even_begun() -> None:
    async with Peer(extensions=["SIZE 1000"]).listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port), a_message(content=b"x" * 1000 + b"\r\n"))
    text = "5.3.4 Not sent: 1002 bytes are more than the relay's maximum of 1000"
    assert attempt == Attempt(Stage.MAIL, 552, "5.3.4", text)
    assert (classify(attempt).outcome, classify(attempt).cause) == (Outcome.FAILED, "content")
    assert [command.split(" ")[0] for command in peer.commands] == ["EHLO", "QUIT"]


@pytest.mark.parametrize("offer", ["SIZE", "SIZE 0", "SIZE many"])
async def test_a_relay_that_names_no_maximum_is_told_the_size(offer: str) -> None:
    async with Peer(extensions=[offer]).listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port), a_message())
    assert classify(attempt).outcome is Outcome.SENT
    assert peer.commands[1] == f"MAIL FROM:<sender@example.org> SIZE={len(CONTENT)}"


async def test_a_message_arrives_as_it_is_whatever_dots_it_has(smtp_server: RecordingSmtpServer) -> None:
    contents = [
        CONTENT,
        b".\r\n",
        b"Subject: x\r\n\r\n.\r\nQUIT\r\n..\r\n" + (b"y" * 900 + b"\r\n") * 1000,
        b"Subject: no end",
    ]
    async with a_transport() as transport:
        for content in contents:
            attempt = await transport.send(a_relay(smtp_server.port), a_message(content=content))
            assert classify(attempt).outcome is Outcome.SENT
    received = [message.raw.replace(b"\r\n", b"\n").rstrip(b"\n") for message in smtp_server.messages]
    assert received == [content.replace(b"\r\n", b"\n").rstrip(b"\n") for content in contents]


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\r\n.\nQUIT\r\n", b"a\rb\r\n", b"a\n\r\n", b"a\r\n\r"])
async def test_a_bare_line_break_never_reaches_the_wire(content: bytes) -> None:
    async with Peer().listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port), a_message(content=content))
    assert (attempt.stage, attempt.code, attempt.enhanced) == (Stage.MAIL, 554, "5.6.0")
    assert classify(attempt).outcome is Outcome.FAILED
    assert [command for command in peer.commands if command != "QUIT"] == ["EHLO client.test"]


@pytest.mark.parametrize(
    "address",
    [
        "b@x\r\nRCPT TO:<v@x>", "b@x\nDATA", "b\0@x", "a@x, c@y", "<a@x> SIZE=1", "a@x>\t<v@y", "a b@x", "a\x85@x",
        "a\u2028@x", "a\udcff@x",
    ],
)  # fmt: skip
async def test_an_address_that_could_become_a_command_is_not_sent(address: str) -> None:
    async with Peer().listening() as peer, a_transport() as transport:
        as_recipient = await transport.send(a_relay(peer.port), a_message(address))
        as_sender = await transport.send(
            a_relay(peer.port), OutgoingMessage(address, "friend@example.com", b"Subject: x\r\n\r\n")
        )
    assert (as_recipient.stage, as_recipient.code, as_recipient.enhanced) == (Stage.RCPT, 553, "5.1.3")
    assert (as_sender.stage, as_sender.code, as_sender.enhanced) == (Stage.MAIL, 553, "5.1.7")
    assert {command.split(" ")[0] for command in peer.commands} <= {"EHLO", "RSET", "QUIT"}


async def test_international_addresses_are_sent_only_where_the_relay_takes_them() -> None:
    async with (
        Peer().listening() as plain,
        Peer(extensions=["SMTPUTF8"]).listening() as able,
        a_transport() as transport,
    ):
        refused = await transport.send(a_relay(plain.port), a_message("grün@example.com"))
        sent = await transport.send(a_relay(able.port), a_message("grün@example.com"))
        domain = await transport.send(a_relay(plain.port), a_message("green@bücher.example"))
    assert (refused.stage, refused.code, refused.enhanced) == (Stage.RCPT, 553, "5.6.7")
    assert classify(refused).outcome is Outcome.FAILED
    assert not classify(refused).suppress
    assert classify(sent).outcome is Outcome.SENT
    assert "MAIL FROM:<sender@example.org> SMTPUTF8 BODY=8BITMIME" in able.commands
    assert "RCPT TO:<grün@example.com>" in able.commands
    assert classify(domain).outcome is Outcome.SENT
    assert "RCPT TO:<green@xn--bcher-kva.example>" in plain.commands


async def test_eight_bit_content_and_sizes_are_announced_as_the_relay_asks() -> None:
    content = "Subject: x\r\n\r\nGrüße\r\n".encode()
    async with (
        Peer(extensions=["SIZE 1000", "8BITMIME"]).listening() as able,
        Peer(extensions=[]).listening() as plain,
        a_transport() as transport,
    ):
        sent = await transport.send(a_relay(able.port), a_message(content=content))
        refused = await transport.send(a_relay(plain.port), a_message(content=content))
    assert classify(sent).outcome is Outcome.SENT
    assert f"MAIL FROM:<sender@example.org> BODY=8BITMIME SIZE={len(content)}" in able.commands
    assert (refused.stage, refused.enhanced, classify(refused).cause) == (Stage.MAIL, "5.6.3", "content")
