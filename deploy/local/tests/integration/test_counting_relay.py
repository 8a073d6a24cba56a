"""The counting relay, asked with the standard library's client: what it counts is what was accepted."""

from __future__ import annotations

import contextlib
import smtplib
import time
from collections.abc import Generator

import pytest

from posthorn_local.testing.counting_relay.client import CountingRelay
from posthorn_local.testing.counting_relay.faults import Fault, Script

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Generator[CountingRelay]:
    relay = CountingRelay(tmp_path_factory.mktemp("relay"))
    relay.start()
    yield relay
    relay.stop()


@pytest.fixture
def relay(process: CountingRelay) -> CountingRelay:
    process.follow()
    process.forget()
    return process


def send(relay: CountingRelay, *recipients: str, message_id: str = "<1@example.com>") -> None:
    message = f"Subject: Hello\r\nMessage-ID: {message_id}\r\n\r\n.dots\r\n..\r\n"
    with contextlib.closing(smtplib.SMTP("127.0.0.1", relay.smtp_port, timeout=10)) as client:
        client.sendmail("a@example.com", recipients, message)


def test_counts_recipients_with_message_ids(relay: CountingRelay) -> None:
    send(relay, "b@example.com", "c@example.com")
    send(relay, "b@example.com", message_id="\r\n <2@example.com>")
    assert relay.records().accepted == {
        "b@example.com": ["<1@example.com>", "<2@example.com>"],
        "c@example.com": ["<1@example.com>"],
    }
    counts = relay.counts()
    assert (counts["messages"], counts["recipients"], counts["repeated"]) == (2, 2, 1)


def test_several_commands_in_one_packet_are_answered_in_order(relay: CountingRelay) -> None:
    with contextlib.closing(smtplib.SMTP("127.0.0.1", relay.smtp_port, timeout=10)) as client:
        client.ehlo()
        assert client.has_extn("pipelining")
        client.send(b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n")
        assert [client.getreply()[0] for _ in range(3)] == [250, 250, 354]
        client.send(b"Message-ID: <3@x.example>\r\n\r\nHello\r\n.\r\nRSET\r\n.nonsense\r\nQUIT\r\n")
        assert [client.getreply()[0] for _ in range(4)] == [250, 250, 500, 221]
    assert relay.records().accepted == {"b@x.example": ["<3@x.example>"]}


@pytest.mark.parametrize(("stage", "address"), [("rcpt", "refused@example.com"), ("dot", "late@example.com")])
def test_refuses_with_the_reply_it_was_told(relay: CountingRelay, stage: str, address: str) -> None:
    relay.follow([Fault(stage, "reply", "550 5.1.1 No such user")])  # type: ignore[arg-type]
    with pytest.raises((smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError), match=r"5\.1\.1"):
        send(relay, address)
    assert relay.records().accepted == {}
    assert relay.records().refused == {address: ["550 5.1.1 No such user"]}


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        (Fault("connect", "close"), False),
        (Fault("content", "close"), False),
        (Fault("dot", "close"), False),
        (Fault("dot", "close", taken=True), True),
    ],
)
def test_cuts_the_connection_without_an_answer(relay: CountingRelay, fault: Fault, taken: bool) -> None:
    relay.follow([fault])
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(relay, "b@example.com")
    assert relay.counts()["struck"] == {fault.name: 1}
    assert ("b@example.com" in relay.records().accepted) is taken


def test_answers_late_and_keeps_the_connection_usable(relay: CountingRelay) -> None:
    relay.follow(delay_seconds=0.3)
    started = time.monotonic()
    send(relay, "b@example.com")
    assert time.monotonic() - started >= 0.3


def test_a_black_hole_ends_with_the_script_that_made_it(relay: CountingRelay) -> None:
    relay.follow([Fault("mail", "silence")])
    with contextlib.closing(smtplib.SMTP("127.0.0.1", relay.smtp_port, timeout=10)) as client:
        client.ehlo()
        client.send(b"MAIL FROM:<a@x.example>\r\n")
        client.sock.settimeout(0.5)  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            client.sock.recv(1)  # type: ignore[union-attr]
        relay.follow()
        client.sock.settimeout(10)  # type: ignore[union-attr]
        assert client.sock.recv(1) == b"", "closed"  # type: ignore[union-attr]
    send(relay, "b@example.com")
    assert relay.counts()["messages"] == 1


def test_a_share_of_faults_is_drawn_anew_and_repeatable() -> None:
    def strikes(seed: int) -> int:
        script = Script([Fault("dot", "close", share=0.1)], seed=seed)
        return sum(script.at("dot") is not None for _ in range(2000))

    assert strikes(1) == strikes(1)
    assert 120 < strikes(1) < 280


@pytest.mark.parametrize("broken", [{"stage": "nap", "action": "close"}, {"stage": "dot", "action": "reply"}])
def test_a_fault_that_makes_no_sense_is_refused(broken: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"unknown fault|needs its text"):
        Script.parse({"faults": [broken]})
