"""`posthorn-local`: the command line behind the make targets."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from posthorn_local.client import ApiProblem
from posthorn_local.demo.journey import run_demo
from posthorn_local.errors import LocalStackError
from posthorn_local.logs import follow
from posthorn_local.paths import STATE
from posthorn_local.plan import ExternalServers
from posthorn_local.stack import Stack
from posthorn_local.testing.native import NativeTestServers

app = typer.Typer(
    name="posthorn-local", help="The whole product on this machine.", no_args_is_help=True, add_completion=False
)
_STATE_STYLE = {"running": "green", "died": "red", "stopped": "dim"}
_LAST_LINES = 10


def main() -> None:
    """Run the command line; a problem that has an explanation ends with it and status 1."""
    try:
        app()
    except LocalStackError as error:
        sys.stderr.write(f"posthorn: {error}\n")
        sys.exit(1)


@app.command()
def up() -> None:
    """Start everything that does not run, and say where it is."""
    plan = _stack().up(_say)
    _say(f"the product:   {plan.urls['gateway']}   (documentation: {plan.urls['gateway']}/docs)")
    _say(f"mail catcher:  {plan.urls['mailcatcher']}   (SMTP: {plan.urls['smtp']})")
    _say("`make status` shows all programs, `make logs` follows them, `make down` stops them")


@app.command()
def demo() -> None:
    """Start everything and send a campaign, from sign-in to statistics."""
    stack = _stack()
    plan = stack.up(_say)
    try:
        asyncio.run(run_demo(plan.urls, stack.folder / "demo.json"))
    except (ApiProblem, TimeoutError, RuntimeError) as error:
        raise LocalStackError(f"the demo stopped: {type(error).__name__} {error}; `make logs` may say why") from error


@app.command()
def down() -> None:
    """Stop everything; data stay."""
    _stack().down(_say)


@app.command()
def reset() -> None:
    """Stop everything and delete its data."""
    _stack().reset(_say)


@app.command()
def status() -> None:
    """Show all programs. Exits with 1 if one has died."""
    programs = _stack().status()
    table = Table(box=None, pad_edge=False)
    for title in ("program", "state", "address", "pid", "memory"):
        table.add_column(title, justify="right" if title in {"pid", "memory"} else "left")
    for program in programs:
        style = _STATE_STYLE[program.state]
        memory = "" if program.memory_mb is None else f"{program.memory_mb} MB"
        table.add_row(program.name, f"[{style}]{program.state}", program.address, str(program.pid or ""), memory)
    Console().print(table)
    died = [program.name for program in programs if program.state == "died"]
    if died:
        _say(f"{', '.join(died)} died: `make logs NAME={died[0]}` may say why, `make up` starts it again")
        raise typer.Exit(1)


@app.command()
def logs(name: Annotated[str | None, typer.Argument(help="Only this program's.")] = None) -> None:
    """Follow the logs of all programs, or of one, until Ctrl-C."""
    folder = STATE / "stack" / "logs"

    def files() -> list[Path]:
        return sorted(folder.glob(f"{name or '*'}.log"))

    if not files():
        raise LocalStackError(f"there is no log in {folder}" + (f" named {name}.log" if name else ""))
    width = max(len(path.stem) for path in files())
    try:
        for program, line in follow(files, last=_LAST_LINES):
            print(f"{program:<{width}} | {line}", flush=True)
    except KeyboardInterrupt:
        raise typer.Exit from None


@app.command()
def test_servers_down() -> None:
    """Stop the servers that tests left running, and delete their data."""
    NativeTestServers(STATE / "test").stop()


def _stack() -> Stack:
    return Stack(STATE / "stack", external=ExternalServers.from_environment())


def _say(line: str) -> None:
    print(f"posthorn: {line}", flush=True)


if __name__ == "__main__":
    main()
