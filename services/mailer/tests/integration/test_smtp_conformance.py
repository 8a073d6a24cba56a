"""Against servers that others have written: aiosmtpd, and Postfix's smtp-sink where it is at hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthorn_local.ports import answers, free_ports
from posthorn_local.testing.smtp import RecordingSmtpServer
from posthorn_mailer.domain.replies import Attempt, Outcome, Stage, classify

from .smtp_peer import CONTENT, LOST, a_message, a_relay, a_transport

pytestmark = pytest.mark.integration

_SINK = shutil.which(
    "smtp-sink", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/libexec/postfix"])
)
SINK = os.environ.get("POSTHORN_TEST_SMTP_SINK") or _SINK
needs_sink = pytest.mark.skipif(
    SINK is None,
    reason="smtp-sink is not installed (Debian: package postfix); POSTHORN_TEST_SMTP_SINK names it elsewhere",
)

lines = st.lists(
    st.sampled_from([b"", b".", b"..", b".a", b"QUIT", b".\t"])
    | st.binary(max_size=200).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")),
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(lines.map(b"\r\n".join), min_size=1, max_size=4))
def test_any_bytes_arrive_as_they_are(smtp_server: RecordingSmtpServer, contents: list[bytes]) -> None:
    smtp_server.clear()

    async def send_all() -> list[Attempt]:
        async with a_transport() as transport:
            relay = a_relay(smtp_server.port)
            return [await transport.send(relay, a_message(content=content)) for content in contents]

    assert {attempt.code for attempt in asyncio.run(send_all())} == {250}
    assert [message.raw for message in smtp_server.messages] == [
        content if content.endswith(b"\r\n") or not content else content + b"\r\n" for content in contents
    ]


async def test_aiosmtpd_s_refusals_are_told_exactly_and_harm_no_other_message(smtp_server: RecordingSmtpServer) -> None:
    smtp_server.reply_to("gone@example.com", "550 5.1.1 no such user")
    smtp_server.reply_to("later@example.com", "451 4.7.1 greylisted", times=1)
    smtp_server.reply_to("spam@example.com", "554 5.7.1 looks like spam", at="DATA")
    async with a_transport() as transport:
        relay = a_relay(smtp_server.port, max_connections=1)
        recipients = ["gone", "fine", "later", "spam", "later", "fine"]
        attempts = [await transport.send(relay, a_message(f"{name}@example.com")) for name in recipients]
    assert [(attempt.stage, attempt.code) for attempt in attempts] == [
        (Stage.RCPT, 550), (Stage.CONTENT, 250), (Stage.RCPT, 451), (Stage.CONTENT, 554), (Stage.CONTENT, 250),
        (Stage.CONTENT, 250),
    ]  # fmt: skip
    assert [message.envelope_to for message in smtp_server.messages] == [
        ("fine@example.com",), ("later@example.com",), ("fine@example.com",)
    ]  # fmt: skip


@pytest.fixture
def folder() -> Generator[Path]:
    """A folder that everybody may write to: smtp-sink gives up the rights of root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextlib.asynccontextmanager
async def sink(folder: Path, *options: str) -> AsyncGenerator[int]:
    """Run smtp-sink, which keeps what it takes in `folder`; provide its port."""
    assert SINK is not None
    port = free_ports(1)[0]
    identity = ("-u", "nobody") if os.geteuid() == 0 else ()
    process = await asyncio.create_subprocess_exec(
        SINK, "-4", *identity, "-d", "taken.", *options, f"127.0.0.1:{port}", "64", cwd=folder
    )
    try:
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(answers, port):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def taken(folder: Path) -> list[bytes]:
    """Return the contents that smtp-sink has kept, without the headers that it puts in front."""
    kept = []
    for file in sorted(folder.glob("taken.*")):
        _, _, content = file.read_bytes().partition(b"\nReceived: ")
        _, _, content = content.partition(b"Subject: ")
        kept.append(b"Subject: " + content.removesuffix(b"\n"))
    return kept


@needs_sink
@pytest.mark.parametrize(
    "options", [(), ("-p",), ("-p", "-8"), ("-e",)], ids=["all", "no pipelining", "7bit", "HELO only"]
)
async def test_smtp_sink_takes_every_message_on_few_connections(folder: Path, options: tuple[str, ...]) -> None:
    async with sink(folder, *options) as port, a_transport() as transport:
        relay = a_relay(port, max_connections=3)
        attempts = await asyncio.gather(*(transport.send(relay, a_message()) for _ in range(30)))
    assert {(attempt.stage, attempt.code) for attempt in attempts} == {(Stage.CONTENT, 250)}
    assert [content.strip() for content in taken(folder)] == [CONTENT.replace(b"\r\n", b"\n").strip()] * 30


@needs_sink
@pytest.mark.parametrize(
    ("options", "stage", "code", "outcome"),
    [
        (("-f", "rcpt"), Stage.RCPT, 500, Outcome.DEFERRED),
        (("-r", "rcpt"), Stage.RCPT, 450, Outcome.DEFERRED),
        (("-f", "mail"), Stage.MAIL, 500, Outcome.DEFERRED),
        (("-r", "data"), Stage.DATA, 450, Outcome.DEFERRED),
        (("-r", "."), Stage.CONTENT, 450, Outcome.DEFERRED),
        (("-q", "mail"), Stage.MAIL, None, Outcome.DEFERRED),
        (("-q", "rcpt"), Stage.RCPT, None, Outcome.DEFERRED),
        (("-q", "data"), Stage.DATA, None, Outcome.DEFERRED),
        (("-q", "."), Stage.CONTENT, None, Outcome.AMBIGUOUS),
        (("-Q", "rcpt"), Stage.RCPT, 421, Outcome.DEFERRED),
    ],
)
async def test_smtp_sink_s_refusals_are_told_exactly(
    folder: Path, options: tuple[str, ...], stage: Stage, code: int | None, outcome: Outcome
) -> None:
    for more in ((), ("-p",)):
        async with sink(folder, *options, *more) as port, a_transport() as transport:
            relay = a_relay(port, max_connections=1)
            attempts = [await transport.send(relay, a_message()) for _ in range(3)]
        assert [(attempt.stage, attempt.code) for attempt in attempts] == [(stage, code)] * 3
        assert {classify(attempt).outcome for attempt in attempts} == {outcome}
        assert code is not None or {attempt.text for attempt in attempts} == {LOST}
