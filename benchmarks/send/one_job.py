"""The usual way, for comparison: one BullMQ job per e-mail, each building its message with the standard library.

`python -m benchmarks.send.one_job produce COUNT` adds the jobs, `… work` handles them: templates are rendered by the
same library as in the mailer, the message is an `email.message.EmailMessage`, smtplib's connections stay open. Nothing
is stored about recipients but the job itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import smtplib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import psutil
import uvloop
from bullmq import Job, Queue, Worker

from benchmarks.harness.cpu import CpuMeter, peak_memory_mb, tree_seconds
from benchmarks.send import letter
from benchmarks.send.stage import PUBLIC_URL, Stage
from posthorn_common.templating import Template
from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_local.paths import REPOSITORY
from posthorn_local.ports import LOOPBACK

_QUEUE = "one-job-per-email"
_CAMPAIGN = UUID(int=1)
_SECRET = b"s" * 32
_CONCURRENCY = 10
_CHUNK = 500


async def measure(stage: Stage, messages: int, processes: int) -> dict[str, float]:
    """Send `messages` with that many worker processes; return the figures."""
    environment = {
        **os.environ,
        "BENCH_REDIS_URL": stage.servers.valkey.url,
        "BENCH_SMTP_PORT": str(stage.sink_port),
    }
    queue = Queue(_QUEUE, {"connection": stage.servers.valkey.url})
    await queue.obliterate(True)
    workers = [await _start(environment, "work") for _ in range(processes)]
    producer = await _start(environment, "produce", str(messages))
    try:
        for process in (*workers, producer):
            assert process.stdout is not None  # noqa: S101  asked for
            await process.stdout.readline()  # it says that it is ready
        meter = CpuMeter({"workers": [worker.pid for worker in workers], "valkey": stage.servers.pids["valkey"]})
        meter.start()
        started = time.perf_counter()
        output, _ = await producer.communicate(b"go\n")
        while (await queue.getJobCounts("completed"))["completed"] < messages:
            if (await queue.getJobCounts("failed"))["failed"] or any(w.returncode is not None for w in workers):
                raise RuntimeError("a job or a worker has failed")
            await asyncio.sleep(0.1)
        seconds = time.perf_counter() - started
        used = meter.read()
        micro = {f"{name}_us": value / messages * 1e6 for name, value in used.items()}
        micro["producer_us"] = float(output) / messages * 1e6
        return {
            "messages_per_second": messages / seconds,
            **micro,
            "cpu_us": sum(micro.values()),
            "rss_mb": max(peak_memory_mb(worker.pid) for worker in workers),
        }
    finally:
        for process in (*workers, producer):
            if process.returncode is None:
                process.terminate()
            await process.wait()
        await queue.obliterate(True)
        await queue.close()


async def _start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.send.one_job", *arguments,
        cwd=REPOSITORY, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def _produce(count: int) -> None:
    queue = Queue(_QUEUE, {"connection": os.environ["BENCH_REDIS_URL"]})
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    own = psutil.Process()
    before = tree_seconds(own)
    for first in range(0, count, _CHUNK):
        jobs = []
        for number in range(first, min(first + _CHUNK, count)):
            contact_id, fields = letter.contact_fields(number)
            jobs.append({"name": "send_email", "data": {"contact_id": str(contact_id), "fields": fields}, "opts": {}})
        await queue.addBulk(jobs)
    await queue.close()
    _say(str(tree_seconds(own) - before))


class _Sender:
    """Builds and sends messages in threads, each with a connection of its own."""

    def __init__(self, smtp_port: int) -> None:
        self._smtp_port = smtp_port
        self._content = letter.content(_CAMPAIGN, _CAMPAIGN)
        self._local = threading.local()

    def send(self, data: dict[str, Any]) -> None:
        """Handle one job's data."""
        contact_id, fields = UUID(data["contact_id"]), data["fields"]
        token = RecipientToken(_CAMPAIGN, contact_id).sign(_SECRET)
        message = self._message(contact_id, token, fields)
        self._connection().send_message(message, from_addr=self._content.from_email, to_addrs=[fields["email"]])

    def _message(self, contact_id: UUID, token: str, fields: dict[str, Any]) -> EmailMessage:
        content = self._content
        self._local.token = token
        subject, text, html = self._templates()
        unsubscribe = f"{PUBLIC_URL}/u/{token}"
        context = {
            "contact": fields,
            "posthorn_unsubscribe_url": unsubscribe,
            "posthorn_open_pixel": f"{PUBLIC_URL}/t/o/{token}",
        }
        message = EmailMessage(policy=SMTP)
        message["From"] = f"{content.from_name} <{content.from_email}>"
        message["Reply-To"] = content.reply_to
        message["To"] = fields["email"]
        message["Subject"] = subject.render(context)
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = f"<{contact_id.hex}.{_CAMPAIGN.hex}@lighthouse.example>"
        message["List-Unsubscribe"] = f"<{unsubscribe}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message["List-Id"] = f"<{content.list_id}>"
        message.set_content(text.render(context))
        message.add_alternative(html.render(context), subtype="html")
        return message

    def _templates(self) -> tuple[Template, Template, Template]:
        local = self._local
        if not hasattr(local, "templates"):
            links = {"posthorn_link": lambda number: f"{PUBLIC_URL}/t/c/{local.token}/{number}"}
            local.templates = tuple(
                Template(source, html=html, functions=links)
                for source, html in (
                    (self._content.subject, False),
                    (self._content.text, False),
                    (self._content.html, True),
                )
            )
        templates: tuple[Template, Template, Template] = local.templates
        return templates

    def _connection(self) -> smtplib.SMTP:
        if not hasattr(self._local, "smtp"):
            self._local.smtp = smtplib.SMTP(LOOPBACK, self._smtp_port)
        connection: smtplib.SMTP = self._local.smtp
        return connection


async def _work() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sender = _Sender(int(os.environ["BENCH_SMTP_PORT"]))
    threads = ThreadPoolExecutor(_CONCURRENCY)

    async def process(job: Job, _token: str) -> None:
        await asyncio.get_running_loop().run_in_executor(threads, sender.send, job.data)

    options = {"connection": os.environ["BENCH_REDIS_URL"], "concurrency": _CONCURRENCY}
    worker = Worker(_QUEUE, process, options)
    _say("ready")
    await stop.wait()
    await worker.close()
    threads.shutdown()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_produce(int(sys.argv[2])) if sys.argv[1] == "produce" else _work())
