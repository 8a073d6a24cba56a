"""How the demo looks: steps, a progress bar, tables and small charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

_BAR_CHARACTERS = 30
console = Console()


def step(text: str) -> None:
    """Say what has just been done."""
    console.print(f"[green]✓[/] {text}", soft_wrap=True)


def progress_bar() -> Progress:
    """Return a bar for a campaign's progress."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=console,
    )


def show_statistics(statistics: Mapping[str, Any]) -> None:
    """Show counts and rates of a campaign."""
    table = Table(title="Statistics", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    table.add_column("recipients", justify="right")
    table.add_column("rate", justify="right")
    rates = statistics["rates"]
    for label, count, rate in (
        ("audience", "audience", None),
        ("sent", "sent", "delivery"),
        ("bounced", "bounced", "bounce"),
        ("opened", "unique_opens", "open"),
        ("clicked", "unique_clicks", "click"),
        ("unsubscribed", "unsubscribes", "unsubscribe"),
    ):
        shown = "" if rate is None else f"{rates[rate] * 100:.1f} %"
        table.add_row(label, f"{statistics[count]:,}", shown)
    console.print(table)


def show_chart(title: str, rows: Iterable[tuple[str, int]]) -> None:
    """Show labelled bars."""
    rows = list(rows)
    largest = max((value for _, value in rows), default=0) or 1
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    for label, value in rows:
        table.add_row(label, f"[red]{'█' * round(value / largest * _BAR_CHARACTERS)}[/] {value:,}")
    console.print(table)
