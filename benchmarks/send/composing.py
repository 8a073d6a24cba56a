"""What making a message costs by itself: rendering, links, token, MIME; no database, no network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from benchmarks.send import letter
from benchmarks.send.stage import PUBLIC_URL
from posthorn_mailer.adapters.composing.manuscripts import Editor
from posthorn_mailer.adapters.composing.press import Press
from posthorn_mailer.adapters.composing.printer import ConfinedPrinter
from posthorn_mailer.app.ports_content import Recipient

_GROUP = 20


def measure(messages: int) -> dict[str, float]:
    """Make so many messages in this process; return the CPU time of each."""
    recipients = [_recipient(number) for number in range(messages)]
    dated = datetime.now(UTC)
    editor = _editor()
    campaign_id, manuscript = editor.manuscript(_content())
    press = Press(manuscript)
    before = time.process_time()
    for recipient in recipients:
        press.message(editor.reader(campaign_id, recipient, dated))
    seconds = time.process_time() - before
    return {"messages_per_second": messages / seconds, "cpu_us": seconds / messages * 1e6}


async def measure_confined(messages: int) -> dict[str, float]:
    """Have so many made as workers do, some at a time; return the CPU time of each in both processes together."""
    printer = ConfinedPrinter(_editor())
    try:
        made = await printer.letter(_content())
        recipients = [_recipient(number) for number in range(messages)]
        dated = datetime.now(UTC)

        async def compose(group: Sequence[Recipient]) -> None:
            await asyncio.gather(*(made.compose(recipient, dated) for recipient in group))

        await compose(recipients[:_GROUP])
        pid = printer.shared.bench.pid
        ours, theirs, started = time.process_time(), _cpu_seconds(pid), time.perf_counter()
        for first in range(0, messages, _GROUP):
            await compose(recipients[first : first + _GROUP])
        ours, theirs = time.process_time() - ours, _cpu_seconds(pid) - theirs
        seconds = time.perf_counter() - started
        memory = _pss_mb(pid)
    finally:
        await printer.close()
    return {
        "messages_per_second": messages / seconds,
        "cpu_us": (ours + theirs) / messages * 1e6,
        "mailer_us": ours / messages * 1e6,
        "rss_mb": memory,
    }


def _editor() -> Editor:
    return Editor(public_base=PUBLIC_URL, link_secret=b"s" * 32)


def _content() -> str:
    return letter.content(*(letter.contact_fields(0)[0],) * 2).model_dump_json()


def _cpu_seconds(pid: int | None) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _pss_mb(pid: int | None) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _recipient(number: int) -> Recipient:
    contact_id, fields = letter.contact_fields(number)
    return Recipient(number, contact_id, str(fields["email"]), orjson.dumps(fields).decode())
