"""What making a message costs by itself: rendering, links, token, MIME; no database, no network."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import orjson

from benchmarks.send import letter
from benchmarks.send.stage import PUBLIC_URL
from posthorn_mailer.adapters.rendering import TemplatePrinter
from posthorn_mailer.app.ports_content import Recipient


def measure(messages: int) -> dict[str, float]:
    """Compose so many messages in this process; return the CPU time of each."""
    content = letter.content(*(letter.contact_fields(0)[0],) * 2).model_dump_json()
    made = TemplatePrinter(public_base=PUBLIC_URL, link_secret=b"s" * 32).letter(content)
    recipients = [_recipient(number) for number in range(messages)]
    dated = datetime.now(UTC)
    before = time.process_time()
    for recipient in recipients:
        made.compose(recipient, dated)
    seconds = time.process_time() - before
    return {"messages_per_second": messages / seconds, "cpu_us": seconds / messages * 1e6}


def _recipient(number: int) -> Recipient:
    contact_id, fields = letter.contact_fields(number)
    return Recipient(number, contact_id, str(fields["email"]), orjson.dumps(fields).decode())
