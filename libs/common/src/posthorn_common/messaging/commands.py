"""`posthorn-<service> dead-letters`: list what was given up, send it back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

from posthorn_common.messaging.dead_letters import list_dead_letters, redrive_dead_letters
from posthorn_common.messaging.errors import BrokerUnavailable, EventNotStored
from posthorn_common.settings import ServiceSettings, load_settings

Result = TypeVar("Result")

_Limit = Annotated[int, typer.Option(min=1, help="At most so many messages.")]


def dead_letter_commands(consumer: str, settings: type[ServiceSettings]) -> typer.Typer:
    """Return the commands for a service's dead letters; add them with `app.add_typer(…, name="dead-letters")`."""
    app = typer.Typer(help="Events that this service could not handle.", no_args_is_help=True)

    @app.command(name="list")
    def list_(limit: _Limit = 100) -> None:
        """Show dead letters, oldest first: event id, type, reason, time, queue."""
        for letter in _result(list_dead_letters(_amqp_url(settings), consumer, limit)):
            died_at = letter.died_at.isoformat() if letter.died_at else "-"
            typer.echo(f"{letter.event_id}  {letter.event_type}  {letter.reason}  {died_at}  {letter.queue}")

    @app.command()
    def redrive(limit: _Limit = 1000) -> None:
        """Send dead letters back to the queues they came from."""
        moved = _result(redrive_dead_letters(_amqp_url(settings), consumer, limit))
        typer.echo(f"{moved} moved")

    return app


def _result(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return asyncio.run(work)
    except (BrokerUnavailable, EventNotStored) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from error


def _amqp_url(settings: type[ServiceSettings]) -> str:
    return load_settings(settings).amqp_url.get_secret_value()
