"""`make bench-send`: what the mailer's whole path costs, and how fast it is, beside two baselines of the same run."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from benchmarks.harness.postfix import PostfixTools, PostfixUnavailable, postfix_tools
from benchmarks.harness.results import RESULTS, Figures, last_line, machine, medians, table, write_json
from benchmarks.send import composing, letter, one_job, planning, profile, variants
from benchmarks.send.stage import PUBLIC_URL, Stage, stage
from benchmarks.send.whole_path import whole_path, workers
from posthorn_mailer.domain.sending_domains import DkimAlgorithm

_COLUMNS = {
    "messages_per_second": ",.0f", "cpu_us": ".1f", "mailer_us": ".1f", "postgres_us": ".1f", "valkey_us": ".1f",
    "rabbitmq_us": ".1f", "sink_us": ".1f", "commits_per_message": ".3f", "rss_mb": ".0f",
    "first_message_s": ".2f", "planned_after_s": ".2f",
}  # fmt: skip
_COMPOSED = 5_000
_ONE, _TWO = "mailer, one worker", "mailer, two workers"
_PLANNING = "planning only (recipients)"
_SOURCE = "smtp-source"
_COMPOSING = "making messages only"
_CONFINED = "the same, in a workshop"
_ONE_JOB = "one job per e-mail, two workers"


@dataclass(frozen=True)
class Options:
    """What is measured."""

    recipients: int
    rounds: int
    connections: int
    one_job_messages: int
    sink: str
    variants: bool


def main(
    recipients: Annotated[int, typer.Option(help="Recipients of each campaign.")] = 50_000,
    rounds: Annotated[int, typer.Option(help="How often everything is measured; the medians count.")] = 3,
    connections: Annotated[int, typer.Option(help="Connections to the sink of each worker, and of smtp-source.")] = 20,
    one_job_messages: Annotated[int, typer.Option(help="Messages of the baseline with one job per e-mail.")] = 3_000,
    sink: Annotated[str, typer.Option(help="`postfix` (smtp-sink) or `own` (a cheap one of ours).")] = "postfix",
    with_variants: Annotated[
        bool,
        typer.Option(
            "--variants/--no-variants",
            help="In the first round also: signed mail, and our own sink without and with TLS.",
        ),
    ] = True,
    profiled: Annotated[
        bool, typer.Option("--profile", help="Only run one worker under the profiler, and show where time goes.")
    ] = False,
) -> None:
    """Measure the mailer's whole path."""
    options = Options(recipients, rounds, connections, one_job_messages, sink, with_variants)
    uvloop.run(_until_stopped(_profile(options) if profiled else _measure(options)))


async def _until_stopped(work: Coroutine[None, None, None]) -> None:
    """Let SIGTERM end the work as an error does, so that no process is left behind."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


async def _measure(options: Options) -> None:
    postfix = _postfix(options)
    found: dict[str, list[Figures]] = {}
    message = letter.sample_message(PUBLIC_URL)
    before = machine()
    print(
        f"bench-send: {options.recipients:,} recipients, {len(message):,} bytes a message, {letter.LINKS} tracked "
        f"links, {options.connections} connections, {options.rounds} rounds, load {before['load_1_minute']} "
        f"on {before['cores']} cores, sink: {'smtp-sink' if postfix else 'our own'}"
    )
    async with stage(postfix, connections=options.connections) as ready:
        for number in range(options.rounds):
            figures = await _round(ready, postfix, options, message)
            if options.variants and number == 0:
                figures |= await _variants(ready, options)
            for name, one in figures.items():
                found.setdefault(name, []).append(one)
            print(f"round {number + 1}: " + ", ".join(_short(name, one) for name, one in figures.items()))
    _show(options, found, {"before": before, "after": machine()}, len(message))


async def _round(ready: Stage, postfix: PostfixTools | None, options: Options, message: bytes) -> dict[str, Figures]:
    figures: dict[str, Figures] = {}
    if postfix is not None:
        figures[_SOURCE] = await _smtp_source(ready, postfix, options, message)
    figures[_COMPOSING] = composing.measure(_COMPOSED)
    figures[_CONFINED] = await composing.measure_confined(_COMPOSED)
    figures[_PLANNING] = await planning.measure(ready, options.recipients)
    for name, count in ((_ONE, 1), (_TWO, 2)):
        async with workers(ready, count) as processes:
            figures[name] = await whole_path(ready, processes, options.recipients)
    figures[_ONE_JOB] = await one_job.measure(ready, options.one_job_messages, processes=2)
    return figures


async def _variants(ready: Stage, options: Options) -> dict[str, Figures]:
    figures: dict[str, Figures] = {}
    for algorithms in ([DkimAlgorithm.ED25519], [DkimAlgorithm.RSA], list(DkimAlgorithm)):
        async with variants.signed(ready, algorithms), workers(ready, 1) as processes:
            name = f"{_ONE}, signed {' and '.join(algorithms)}"
            figures[name] = await whole_path(ready, processes, options.recipients)
    for tls in (False, True):
        async with variants.through_own_sink(ready, tls=tls) as changed, workers(changed, 1) as processes:
            name = f"{_ONE}, our own sink{' over TLS' if tls else ''}"
            figures[name] = await whole_path(changed, processes, options.recipients)
    return figures


async def _smtp_source(ready: Stage, postfix: PostfixTools, options: Options, message: bytes) -> Figures:
    with tempfile.NamedTemporaryFile(suffix=".eml") as file:
        file.write(message.replace(b"\r\n", b"\n"))
        file.flush()
        result = await postfix.source(
            ready.sink_port, message=Path(file.name), messages=options.recipients, sessions=options.connections
        )
    return {
        "messages_per_second": options.recipients / result.seconds,
        "cpu_us": result.cpu_seconds / options.recipients * 1e6,
    }


def _show(options: Options, found: dict[str, list[Figures]], circumstances: dict[str, object], size: int) -> None:
    middle = {name: medians(rounds) for name, rounds in found.items()}
    one, two = middle[_ONE], middle[_TWO]
    source = middle.get(_SOURCE)
    ratios = {
        "ratio_to_smtp_source": two["messages_per_second"] / source["messages_per_second"] if source else None,
        "ratio_to_one_job_per_email": two["messages_per_second"] / middle[_ONE_JOB]["messages_per_second"],
        "cpu_ratio_to_one_job_per_email": middle[_ONE_JOB]["cpu_us"] / two["cpu_us"],
        "two_workers_to_one": two["messages_per_second"] / one["messages_per_second"],
    }
    print("\nMedians; CPU is user + system, in microseconds per message.\n")
    rows = dict(middle)
    plan = rows.pop(_PLANNING)
    rows[_PLANNING] = {**plan, "messages_per_second": plan["recipients_per_second"]}
    print(table(rows, _COLUMNS))
    print(
        "\n" + "\n".join(f"{name}: {'-' if value is None else format(value, '.2f')}" for name, value in ratios.items())
    )
    path = write_json(
        "send",
        {
            "options": asdict(options),
            "bytes_per_message": size,
            **circumstances,
            "medians": middle,
            "ratios": ratios,
            "rounds": found,
        },
    )
    print(f"written to {path.relative_to(RESULTS.parent.parent)}")
    ratio = ratios["ratio_to_smtp_source"]
    print(
        last_line(
            "bench-send",
            {
                "cpu_us_per_message": f"{two['cpu_us']:.1f}",
                "messages_per_second": f"{two['messages_per_second']:.0f}",
                "ratio_to_smtp_source": "none" if ratio is None else f"{ratio:.3f}",
                "ratio_to_one_job_per_email": f"{ratios['ratio_to_one_job_per_email']:.1f}",
                "worker_rss_mb": f"{two['rss_mb']:.0f}",
            },
        )
    )


async def _profile(options: Options) -> None:
    folder = RESULTS / "profile"
    for old in folder.glob("*.json"):
        old.unlink()
    async with (
        stage(_postfix(options), connections=options.connections) as ready,
        workers(ready, 1, profile=folder) as processes,
    ):
        figures = await whole_path(ready, processes, options.recipients)
    print(f"under the profiler: {_short(_ONE, figures)}")
    print(profile.hot_list(folder))


def _postfix(options: Options) -> PostfixTools | None:
    if options.sink != "postfix":
        return None
    try:
        return postfix_tools()
    except PostfixUnavailable as problem:
        print(f"Without smtp-sink and smtp-source, so with a sink of our own and no ratio: {problem}")
        return None


def _short(name: str, figures: Figures) -> str:
    rate = figures.get("messages_per_second") or figures["recipients_per_second"]
    return f"{name} {rate:,.0f}/s {figures['cpu_us']:.0f} µs"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
