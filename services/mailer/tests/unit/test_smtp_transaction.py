"""What is said, and when, by one connection to a relay whose every byte is ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_mailer.adapters.smtp.capabilities import Capabilities
from posthorn_mailer.adapters.smtp.connection import SmtpConnection
from posthorn_mailer.adapters.smtp.protocol import SmtpProtocol
from posthorn_mailer.adapters.smtp.settings import SmtpTimeouts
from posthorn_mailer.app.ports_transport import OutgoingMessage, Withdrawn, always
from posthorn_mailer.domain.replies import Attempt, Stage

MESSAGE = OutgoingMessage("from@example.org", "to@example.com", b"Subject: x\r\n\r\n.\r\n")
MAIL, RCPT, DATA = "MAIL FROM:<from@example.org>\r\n", "RCPT TO:<to@example.com>\r\n", "DATA\r\n"
CONTENT = "Subject: x\r\n\r\n..\r\n.\r\n"
CHUNK = "BDAT 17 LAST\r\nSubject: x\r\n\r\n.\r\n"
PIPELINING = Capabilities(pipelining=True)
CHUNKING = Capabilities(pipelining=True, chunking=True)
LOST = "The connection was lost"
TOO_MUCH = "The relay said more than it was asked"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.aborted = False

    def write(self, data: Any) -> None:
        self.said.append(bytes(data).decode())

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


class Line:
    """A connection, and the relay's end of it."""

    def __init__(self, capabilities: Capabilities, timeouts: SmtpTimeouts | None = None) -> None:
        self.wire = Wire()
        self.protocol = SmtpProtocol(asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)
        self.connection = SmtpConnection(self.protocol, capabilities, timeouts or SmtpTimeouts())

    @asynccontextmanager
    async def delivering(self, may_go: Any = always) -> AsyncGenerator[asyncio.Task[Attempt]]:
        task = asyncio.create_task(self.connection.deliver(MESSAGE, may_go))
        await asyncio.sleep(0)
        yield task
        await asyncio.wait([task])

    def reply(self, *replies: str) -> None:
        for reply in replies:
            self.protocol.data_received(f"{reply}\r\n".encode())

    def heard(self) -> list[str]:
        heard, self.wire.said = self.wire.said, []
        return heard


async def test_what_may_be_said_together_is_said_at_once() -> None:
    line = Line(PIPELINING)
    async with line.delivering() as task:
        assert line.heard() == [MAIL + RCPT + DATA]
        line.reply("250 ok", "250 ok")
        assert line.heard() == []
        line.reply("354 go on")
        assert line.heard() == [CONTENT]
        line.reply("250 2.0.0 queued")
    assert task.result() == Attempt(Stage.CONTENT, 250, "2.0.0", "2.0.0 queued")
    assert line.connection.usable


async def test_without_pipelining_every_command_waits_for_its_turn() -> None:
    line = Line(Capabilities())
    async with line.delivering() as task:
        for expected, reply in ((MAIL, "250 ok"), (RCPT, "250 ok"), (DATA, "354 go on"), (CONTENT, "250 ok")):
            assert line.heard() == [expected]
            line.reply(reply)
    assert task.result().code == 250


async def test_a_chunk_waits_until_the_recipient_is_accepted() -> None:
    line = Line(CHUNKING)
    async with line.delivering() as task:
        assert line.heard() == [MAIL + RCPT]
        line.reply("250 ok")
        assert line.heard() == []
        line.reply("250 ok")
        assert line.heard() == [CHUNK]
        line.reply("250 ok")
    assert task.result().stage is Stage.CONTENT


async def test_content_that_is_asked_for_after_the_recipient_was_refused_is_a_lone_dot() -> None:
    line = Line(PIPELINING)
    async with line.delivering() as refused:
        line.heard()
        line.reply("250 ok", "550 5.1.1 nobody", "354 go on")
        assert line.heard() == [".\r\n"]
        assert not refused.done()
        line.reply("554 5.5.1 no valid recipients")
    assert refused.result() == Attempt(Stage.RCPT, 550, "5.1.1", "5.1.1 nobody")
    async with line.delivering() as sent:
        assert line.heard() == [MAIL + RCPT + DATA], "the dot has ended the transaction, so no RSET"
        line.reply("250 ok", "250 ok", "354 go on", "250 queued")
    assert sent.result().code == 250


@pytest.mark.parametrize("end", ["421 bye", "garbage", "999 what", "354 what"])
async def test_the_refusal_counts_whatever_comes_of_the_lone_dot(end: str) -> None:
    line = Line(PIPELINING)
    async with line.delivering() as task:
        line.reply("250 ok", "451 4.2.0 later", "354 go on", end)
    assert task.result() == Attempt(Stage.RCPT, 451, "4.2.0", "4.2.0 later")
    assert not line.connection.usable


async def test_no_dot_is_sent_where_it_would_deliver_an_empty_message() -> None:
    line = Line(PIPELINING)
    async with line.delivering() as task:
        line.heard()
        line.reply("451 4.3.0 not now", "250 accepted all the same", "354 go on")
    assert line.heard() == []
    assert line.wire.aborted
    assert task.result() == Attempt(Stage.MAIL, 451, "4.3.0", "4.3.0 not now")


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (["550 no", "503 first MAIL", "503 first RCPT"], []),
        (["250 ok", "550 no", "503 no recipient"], ["RSET\r\n"]),
        (["250 ok", "250 ok", "451 later"], ["RSET\r\n"]),
        (["250 ok", "250 ok", "354 go on", "550 no"], [CONTENT]),
    ],
    ids=["at MAIL", "at RCPT", "at DATA", "after the content"],
)
async def test_the_connection_is_cleaned_only_when_something_is_left_on_it(
    replies: list[str], expected: list[str]
) -> None:
    line = Line(PIPELINING)
    async with line.delivering():
        line.heard()
        line.reply(*replies)
        assert line.heard() == expected
        if expected == ["RSET\r\n"]:
            line.reply("250 ok")
    assert line.connection.usable


async def test_a_connection_that_cannot_be_cleaned_is_closed() -> None:
    line = Line(PIPELINING)
    async with line.delivering() as task:
        line.reply("250 ok", "550 no", "503 no", "500 no RSET here")
    assert task.result().code == 550
    assert not line.connection.usable


async def test_a_refused_chunk_is_cleaned_away_and_one_that_was_not_understood_ends_the_connection() -> None:
    line = Line(CHUNKING)
    async with line.delivering() as refused:
        line.reply("250 ok", "250 ok")
        line.heard()
        line.reply("552 5.3.4 too large")
        assert line.heard() == ["RSET\r\n"]
        line.reply("250 ok")
    assert refused.result() == Attempt(Stage.CONTENT, 552, "5.3.4", "5.3.4 too large")
    assert line.connection.usable
    async with line.delivering() as unknown:
        line.reply("250 ok", "250 ok", "500 5.5.1 what is BDAT")
    assert unknown.result().code == 500
    assert line.wire.aborted, "it has taken our content for commands"


@pytest.mark.parametrize(
    ("answered", "stage"), [([], Stage.MAIL), (["250 ok"], Stage.RCPT), (["250 ok", "250 ok"], Stage.DATA)]
)
async def test_a_connection_lost_before_the_content_is_certain_non_delivery(answered: list[str], stage: Stage) -> None:
    line = Line(PIPELINING)
    async with line.delivering() as task:
        line.reply(*answered)
        line.protocol.connection_lost(ConnectionResetError())
    assert task.result() == Attempt(stage, None, None, LOST)
    assert "Subject" not in "".join(line.heard())


@pytest.mark.parametrize("capabilities", [Capabilities(), PIPELINING, CHUNKING])
async def test_a_connection_lost_after_the_content_has_begun_leaves_us_in_doubt(capabilities: Capabilities) -> None:
    line = Line(capabilities)
    async with line.delivering() as task:
        line.reply("250 ok", "250 ok", *([] if capabilities.chunking else ["354 go on"]))
        line.protocol.eof_received()
    assert task.result() == Attempt(Stage.CONTENT, None, None, LOST)


@pytest.mark.parametrize(
    ("capabilities", "replies", "stage"),
    [
        (PIPELINING, "250 ok\r\n250 ok\r\n354 go on\r\n250 queued", Stage.DATA),
        (CHUNKING, "250 ok\r\n250 ok\r\n250 queued", Stage.DATA),
        (Capabilities(), "250 ok\r\n250 ok", Stage.RCPT),
    ],
)
async def test_an_answer_to_what_was_not_said_yet_ends_the_attempt_before_it_is_said(
    capabilities: Capabilities, replies: str, stage: Stage
) -> None:
    line = Line(capabilities)
    async with line.delivering() as task:
        line.heard()
        line.reply(replies)
    assert task.result() == Attempt(stage, None, None, TOO_MUCH)
    assert line.heard() == []
    assert not line.connection.usable


async def test_a_reply_too_many_to_a_pipelined_command_lets_no_content_go() -> None:
    line = Line(PIPELINING)
    async with line.delivering() as task:
        line.heard()
        line.reply("250 ok", "250 ok again", "250 ok", "354 go on")
    assert task.result() == Attempt(Stage.DATA, 250, None, "ok")
    assert line.heard() == []
    assert line.wire.aborted


async def test_content_that_may_not_go_any_more_stays_here() -> None:
    for capabilities in (PIPELINING, CHUNKING):
        line = Line(capabilities)
        answers = iter([True, False])
        async with line.delivering(lambda answers=answers: next(answers)) as task:
            line.heard()
            line.reply("250 ok", "250 ok", *([] if capabilities.chunking else ["354 go on"]))
        assert isinstance(task.exception(), Withdrawn)
        assert line.heard() == []
        assert line.wire.aborted


DIALOGUES = [
    ("250 ok\r\n250 ok\r\n354 go on\r\n", "250-2.0.0 queued\r\n250 2.0.0 as 42\r\n"),
    ("250-2.1.0 ok\r\n250 2.1.0 go\r\n550-5.1.1 no\r\n550 5.1.1 body\r\n354 go on\r\n", "554 no\r\n"),
    ("250 ok\r\n250 ok\r\n451 4.3.0 later\r\n", "250 reset\r\n"),
    ("451 4.3.0 sl\u00f6w\r\n503 what\r\n503 what\r\n", ""),
    ("250 ok\r\nnonsense\r\n", ""),
    ("421 4.4.2 bye\r\n", ""),
]
"""What answers the commands that were said together, and what answers the one said then."""


@given(st.sampled_from(DIALOGUES), st.data())
def test_an_attempt_is_the_same_wherever_its_replies_are_cut(dialogue: tuple[str, str], data: st.DataObject) -> None:
    async def attempt(cut: Callable[[bytes], list[bytes]]) -> tuple[Attempt, bool, list[str]]:
        line = Line(PIPELINING)
        async with line.delivering() as task:
            for replies in dialogue:
                for piece in cut(replies.encode()):
                    line.protocol.data_received(piece)
        return task.result(), line.connection.usable, line.heard()

    def at_random(stream: bytes) -> list[bytes]:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        return [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert asyncio.run(attempt(at_random)) == asyncio.run(attempt(lambda stream: [stream]))


async def test_a_message_costs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    original = loop.call_at

    def call_at(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return original(when, *args, **kwargs)

    monkeypatch.setattr(loop, "call_at", call_at)
    line = Line(PIPELINING)
    for _ in range(50):
        async with line.delivering() as task:
            line.reply("250 ok", "250 ok", "354 go on", "250 queued")
        assert task.result().code == 250
    assert len(timers) == 1
    line.connection.abort()


async def test_each_phase_has_its_own_time() -> None:
    expected = {"mail": Stage.MAIL, "rcpt": Stage.RCPT, "data": Stage.DATA, "content": Stage.CONTENT}
    replies = ["250 ok", "250 ok", "354 go on"]
    for answered, (phase, stage) in enumerate(expected.items()):
        line = Line(PIPELINING, SmtpTimeouts(**{phase: 0.01}))
        async with line.delivering() as task:
            line.reply(*replies[:answered])
        assert task.result() == Attempt(stage, None, None, "No reply in time")
        assert line.wire.aborted


async def test_the_time_to_answer_begins_when_the_content_has_left() -> None:
    loop = asyncio.get_running_loop()
    line = Line(PIPELINING, SmtpTimeouts(content=1.0))
    async with line.delivering() as task:
        line.reply("250 ok", "250 ok", "354 go on")
        await asyncio.sleep(0.2)
        line.protocol.resume_writing()
        left = loop.time()
    assert task.result() == Attempt(Stage.CONTENT, None, None, "No reply in time")
    assert loop.time() - left >= 0.99
