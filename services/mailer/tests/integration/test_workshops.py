"""Messages are made in processes of their own: no template can stop or fill the worker, or anybody else's messages."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import pytest_asyncio

from posthorn_common.clock import new_id
from posthorn_contracts.campaigns.internal_v1 import AudienceMember, CampaignContent
from posthorn_contracts.mailer.v1 import SendDrained
from posthorn_mailer.adapters.composing import bench, printer, queues
from posthorn_mailer.adapters.composing.manuscripts import Editor
from posthorn_mailer.adapters.composing.press import Press
from posthorn_mailer.adapters.composing.printer import ConfinedLetter, ConfinedPrinter
from posthorn_mailer.adapters.db.tables import deliveries
from posthorn_mailer.app.ports_content import CannotCompose, CompositionFailed, Recipient
from posthorn_mailer.app.ports_transport import OutgoingMessage

from .support import Office, eventually

pytestmark = pytest.mark.integration

DATED = datetime(2026, 1, 5, 12, 30, 45, tzinfo=UTC)
EDITOR = Editor(public_base="https://x.test", link_secret=b"s" * 32)
# Lists that hold the same list twice, forty times over: nothing to make, and without end to print or to compare.
NESTED = "{% set a=[1] %}" + "{% set a=[a,a] %}" * 40
TWICE = NESTED + NESTED.replace("a=", "b=").replace("[a,a]", "[b,b]")
DOUBLED = "{% set a='posthorn' %}" + "{% set a=a~a %}" * 40
GREETING = '<p>Dear {{ contact.first_name }}, <a href="{{ posthorn_link(0) }}">read</a></p>'


def only_for_some(poison: str) -> str:
    return "{% if contact.poison %}" + poison + "{% endif %}" + GREETING


def content(**changes: Any) -> str:
    values: dict[str, Any] = {
        "campaign_id": new_id(),
        "organisation_id": new_id(),
        "template_version_id": new_id(),
        "name": "Letter",
        "subject": "Hello {{ contact.first_name }}",
        "html": GREETING,
        "text": "Dear {{ contact.first_name }}",
        "from_name": "Ada",
        "from_email": "post@example.com",
        "list_id": "letters.example.com",
        "track_opens": True,
        "track_clicks": True,
    }
    return CampaignContent.model_validate({**values, **changes}).model_dump_json()


def recipients(count: int, *, poisonous: Sequence[int] = (), **fields: Any) -> list[Recipient]:
    return [
        Recipient(
            number,
            new_id(),
            f"reader.{number}@example.com",
            orjson.dumps({"first_name": f"Grace {number}", "poison": number in poisonous, **fields}).decode(),
        )
        for number in range(count)
    ]


def in_this_process(source: str, recipient: Recipient) -> bytes:
    campaign_id, manuscript = EDITOR.manuscript(source)
    return Press(manuscript).message(EDITOR.reader(campaign_id, recipient, DATED))


async def all_of(letter: ConfinedLetter, group: Sequence[Recipient]) -> list[OutgoingMessage | BaseException]:
    made = (letter.compose(recipient, DATED) for recipient in group)
    return await asyncio.gather(*made, return_exceptions=True)


@pytest_asyncio.fixture
async def press_room() -> AsyncGenerator[ConfinedPrinter]:
    opened = ConfinedPrinter(EDITOR)
    yield opened
    await opened.close()


async def test_messages_are_the_same_to_the_byte_as_in_one_process(press_room: ConfinedPrinter) -> None:
    sources = [
        content(),
        content(html="<p>{{ contact.first_name|upper }} é {{ unsubscribe_url }}</p>", reply_to="a@b.example"),
    ]
    letters = [await press_room.letter(source) for source in sources]
    group = recipients(150)
    made = await asyncio.gather(*(letters[one.number % 2].compose(one, DATED) for one in group))
    for recipient, message in zip(group, made, strict=True):
        assert message.content == in_this_process(sources[recipient.number % 2], recipient)
        assert (message.envelope_from, message.envelope_to) == ("post@example.com", recipient.email)


async def test_messages_larger_than_the_pipe_come_whole(press_room: ConfinedPrinter) -> None:
    source = content(html="{% for i in range(contact.times) %}{{ i }} {{ contact.long }}{% endfor %}")
    letter = await press_room.letter(source)
    group = recipients(12, times=21, long="ab c=" * 10_000) + recipients(3, times=1, long="ab")
    made = await all_of(letter, group)
    assert [message.content for message in made] == [in_this_process(source, one) for one in group]
    assert len(made[0].content) > bench._PIPE_BYTES


async def test_requests_larger_than_the_pipe_arrive_whole(press_room: ConfinedPrinter) -> None:
    source = content(text="{{ contact.long|length }}")
    letter = await press_room.letter(source)
    group = recipients(70, long="x" * 60_000)
    assert [one.content for one in await all_of(letter, group)] == [in_this_process(source, one) for one in group]


@pytest.mark.parametrize(
    "poison",
    [
        NESTED + "{{ a }}",
        TWICE + "{% if a == b %}x{% endif %}",
        TWICE + "{% if b in [a] %}x{% endif %}",
        NESTED + "{{ a|tojson }}",
        NESTED + "{{ a|join }}",
        TWICE + "{{ [a, b]|unique|length }}",
        TWICE + "{{ [a, b]|sort|length }}",
    ],
)
async def test_only_the_recipient_whose_message_has_no_end_fails(press_room: ConfinedPrinter, poison: str) -> None:
    source = content(html=only_for_some(poison))
    letter, other_source = await press_room.letter(source), content()
    other = await press_room.letter(other_source)
    group = recipients(30, poisonous=[11])
    made, others = await asyncio.gather(all_of(letter, group), all_of(other, group))
    assert isinstance(made[11], CompositionFailed)
    assert "too much time or memory" in str(made[11])
    for number, recipient in enumerate(group):
        assert others[number].content == in_this_process(other_source, recipient)
        if number != 11:
            assert made[number].content == in_this_process(source, recipient)
    assert (letter.conduct.apart, letter.conduct.poisonous) == (True, 1)
    assert (other.conduct.apart, other.conduct.poisonous) == (False, 0)


async def test_strings_without_end_are_refused_and_end_nothing(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content(html=only_for_some(DOUBLED + "{{ a }}")))
    pid = press_room.shared.bench.pid
    made = await all_of(letter, recipients(20, poisonous=[3]))
    assert [number for number, one in enumerate(made) if not isinstance(one, OutgoingMessage)] == [3]
    assert "too many steps" in str(made[3])
    assert press_room.shared.bench.pid == pid


async def test_a_message_that_is_too_large_is_refused_and_ends_nothing(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content(text="{% for i in range(contact.n) %}" + "ü" * 2000 + "{% endfor %}"))
    pid = press_room.shared.bench.pid
    made = await all_of(letter, [*recipients(2, n=1), *recipients(1, n=900), *recipients(1, n=1100)])
    assert [isinstance(one, OutgoingMessage) for one in made] == [True, True, False, False]
    assert "5 MiB" in str(made[2])
    assert "2 MiB" in str(made[3])
    assert press_room.shared.bench.pid == pid


async def test_a_campaign_full_of_poison_stops_only_itself_and_is_given_up(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content(html=only_for_some(NESTED + "{{ a }}")))
    other = await press_room.letter(content())
    group = recipients(queues.POISONOUS_MESSAGES + 5, poisonous=range(100))
    poisoned = asyncio.create_task(all_of(letter, group))
    await eventually(lambda: letter.conduct.apart)
    assert all(isinstance(one, OutgoingMessage) for one in await all_of(other, recipients(50)))
    assert not poisoned.done()
    pid = press_room.shared.bench.pid
    assert all(isinstance(one, CompositionFailed) for one in await poisoned)
    assert press_room.shared.bench.pid == pid
    assert letter.conduct.poisonous == queues.POISONOUS_MESSAGES
    (given_up,) = await all_of(letter, recipients(1))
    assert "Too many messages" in str(given_up)


async def test_a_slow_campaign_goes_apart_and_is_sent(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content(html="{% for i in range(contact.n) %}" + "ü" * 2000 + "{% endfor %}"))
    assert isinstance(await letter.compose(*recipients(1, n=1), DATED), OutgoingMessage)
    assert not letter.conduct.apart
    with pytest.raises(CompositionFailed, match="5 MiB"):
        await letter.compose(*recipients(1, n=1000), DATED)
    assert letter.conduct.apart
    pid = press_room.shared.bench.pid
    assert all(isinstance(one, OutgoingMessage) for one in await all_of(letter, recipients(5, n=2)))
    assert (press_room.shared.bench.pid, letter.conduct.poisonous) == (pid, 0)
    assert press_room.apart.bench.pid is not None


async def test_a_process_killed_in_the_middle_of_a_group_costs_nobody_anything(press_room: ConfinedPrinter) -> None:
    source = content(html="{% for i in range(contact.n) %}{{ i }}{% endfor %}")
    letter = await press_room.letter(source)
    group = recipients(120, n=300)
    for _ in range(5):
        made = asyncio.create_task(all_of(letter, group))
        await asyncio.sleep(0.005)
        pid = press_room.shared.bench.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        assert [one.content for one in await made] == [in_this_process(source, one) for one in group]
    assert letter.conduct.poisonous == 0


async def test_a_process_killed_while_idle_is_replaced(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content())
    pid = press_room.shared.bench.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: press_room.shared.bench.pid is None)
    assert all(isinstance(one, OutgoingMessage) for one in await all_of(letter, recipients(3)))
    assert press_room.shared.bench.pid not in {None, pid}
    assert not letter.conduct.apart


async def test_a_message_over_which_the_process_is_killed_again_and_again_fails(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content(html=only_for_some(TWICE + "{{ a == b }}")))
    letter.conduct.apart = True
    press_room.apart._cpu_seconds = 600.0
    made = asyncio.create_task(letter.compose(*recipients(1, poisonous=[0]), DATED))
    seen: set[int] = set()
    while len(seen) < printer._TRIES_UNDER_SIGKILL:
        await eventually(lambda: press_room.apart.bench.pid not in {None, *seen})
        pid = press_room.apart.bench.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        seen.add(pid)
    with pytest.raises(CompositionFailed):
        await made


async def test_a_process_that_stands_still_is_replaced(
    press_room: ConfinedPrinter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_SECOND_LOOK_SECONDS", 0.2)
    letter = await press_room.letter(content())
    press_room.shared.bench._guard_seconds = 0.2
    pid = press_room.shared.bench.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    (made,) = await all_of(letter, recipients(1))
    assert isinstance(made, OutgoingMessage)
    assert not psutil.pid_exists(pid)


async def test_content_that_was_dropped_is_sent_again(
    press_room: ConfinedPrinter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_LETTERS_KEPT", 2)
    sources = [content() for _ in range(5)]
    letters = [await press_room.letter(source) for source in sources]
    group = recipients(20)
    for number in (0, 3, 0, 1):
        made = await all_of(letters[number], group)
        assert [one.content for one in made] == [in_this_process(sources[number], one) for one in group]
        assert len(press_room.shared.bench._known) == 2
    together = await asyncio.gather(*(letter.compose(group[0], DATED) for letter in letters))
    assert [one.content for one in together] == [in_this_process(source, group[0]) for source in sources]


async def test_a_manuscript_that_ends_the_process_is_refused(press_room: ConfinedPrinter) -> None:
    with pytest.raises(CompositionFailed, match="line 2"):
        await press_room.letter(content(html="fine\n{% if %}"))
    with pytest.raises(CompositionFailed):
        await press_room.letter('{"html": 1}')


async def test_a_defect_of_ours_keeps_one_message_from_being_made(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content())
    good, bad = recipients(2)
    made = await all_of(letter, [good, bad._replace(fields="{no json}"), bad])
    assert [type(one) for one in made] == [OutgoingMessage, queues.MessageBroke, OutgoingMessage]
    assert str(made[1]) == "JSONDecodeError"


async def test_the_process_knows_no_secrets_and_is_small(
    press_room: ConfinedPrinter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTHORN_MAILER_LINK_SECRET", "a-canary")
    letter = await press_room.letter(content())
    await all_of(letter, recipients(64))
    process = psutil.Process(press_room.shared.bench.pid)
    assert "a-canary" not in process.environ().values()
    assert process.memory_full_info().pss < 40 * 1024 * 1024
    loaded = {Path(entry.path).name for entry in process.memory_maps(grouped=True)}
    assert not any(name.startswith(("pydantic", "_pydantic", "loop.", "_rust")) for name in loaded)


async def test_signals_that_end_the_worker_gracefully_leave_its_process_alone(press_room: ConfinedPrinter) -> None:
    letter = await press_room.letter(content())
    pid = press_room.shared.bench.pid
    assert pid is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    assert all(isinstance(one, OutgoingMessage) for one in await all_of(letter, recipients(3)))
    assert press_room.shared.bench.pid == pid


async def test_where_no_process_can_be_started_it_is_said_after_some_tries(
    press_room: ConfinedPrinter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "_FIRST_PAUSE_SECONDS", 0.01)
    letter = await press_room.letter(content())
    press_room.shared.bench.end()
    with monkeypatch.context() as patched:
        patched.setattr(bench, "_MODULE", "posthorn_mailer.no_such_module")
        with pytest.raises(CannotCompose):
            await letter.compose(*recipients(1), DATED)
    assert isinstance(await letter.compose(*recipients(1), DATED), OutgoingMessage)


_WORKER = """
import asyncio, sys
from posthorn_mailer.adapters.composing.manuscripts import Editor
from posthorn_mailer.adapters.composing.printer import ConfinedPrinter

async def main():
    printer = ConfinedPrinter(Editor(public_base="https://x.test", link_secret=b"s" * 32))
    await printer.letter(sys.stdin.read())
    print(printer.shared.bench.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_process_ends_with_its_parent_however_that_dies() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(content().encode())
    parent.stdin.close()
    child = psutil.Process(int(await parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    await parent.wait()
    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def audience(count: int, poisonous: int) -> list[AudienceMember]:
    return [
        AudienceMember(
            contact_id=new_id(),
            email=f"reader.{number}@example.com",
            fields={"first_name": f"Reader {number}", "poison": number == poisonous},
        )
        for number in range(count)
    ]


async def test_a_campaign_with_a_recipient_whose_message_has_no_end_goes_to_all_others(
    office: Office, smtp_server: Any
) -> None:
    await office.add_relay(smtp_server.port)
    poisoned = office.add_campaign(audience(25, poisonous=7), html=only_for_some(NESTED + "{{ a }}"))
    healthy = office.add_campaign(audience(25, poisonous=7))
    async with office.working("worker", "scheduler"):
        await office.start(poisoned)
        await office.start(healthy)

        async def drained() -> bool:
            return len(await office.events(SendDrained)) == 2

        await eventually(drained)
    assert await office.counts(poisoned) == await office.told(poisoned) == {"sent": 24, "failed": 1}
    assert await office.counts(healthy) == await office.told(healthy) == {"sent": 25}
    (failed,) = [row for row in await office.rows(deliveries, poisoned) if row.state == "failed"]
    assert (failed.email, failed.cause) == ("reader.7@example.com", "content")
    assert "too much time or memory" in failed.reply
    assert len(smtp_server.messages) == 49


async def test_a_worker_that_cannot_make_messages_gives_its_batches_back_and_says_why(
    office: Office, smtp_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "_FIRST_PAUSE_SECONDS", 0.01)
    campaign_id = await office.plan(audience(5, poisonous=-1), port=smtp_server.port)
    office.container.printer.shared.bench.end()
    with monkeypatch.context() as patched:
        patched.setattr(bench, "_MODULE", "posthorn_mailer.no_such_module")
        await office.send_all()
    assert await office.counts(campaign_id) == {"pending": 5}
    view = await office.container.resolving.get_send(office.organisation_id, campaign_id)
    assert "does not start" in str(view)
    await office.execute("UPDATE batches SET not_before = NULL")
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 5}
