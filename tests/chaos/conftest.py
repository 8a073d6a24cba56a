"""One stack with three workers and a counting relay for all faults; each fault gets a campaign of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from posthorn_local.paths import STATE
from posthorn_local.stack import Stack
from posthorn_local.testing.counting_relay.client import CountingRelay
from posthorn_local.testing.counting_relay.faults import Fault

from .fleet import ROLES, SETTINGS, Fleet
from .flights import RECIPIENTS, Account, Conditions, Flight, launched, open_account
from .report import Report

_KEPT = STATE / "chaos"
_REPORT = pytest.StashKey[Report]()

Launch = Callable[..., Awaitable[Flight]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave all to `make chaos` but what is marked as an end-to-end test."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("e2e") is None:
            item.add_marker(pytest.mark.chaos)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    report = config.stash.get(_REPORT, None)
    if report is not None and report.rows:
        terminalreporter.section("faults")
        for line in report.table():
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the figures, and end with the line for programs."""
    report = config.stash.get(_REPORT, None)
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if report is not None and report.rows and terminal is not None:
        report.write(_KEPT / "figures.json")
        terminal.write_line(report.last_line())


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """Collects the figures of all faults."""
    return pytestconfig.stash.setdefault(_REPORT, Report())


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Generator[Fleet]:
    """The product in a folder of its own; stopped and wiped at the end, but for its logs."""
    folder = tmp_path_factory.mktemp("chaos")
    stack = Stack(folder, settings=SETTINGS, roles=ROLES)
    relay = CountingRelay(folder)
    try:
        relay.start()
        fleet = Fleet(stack, relay)
        fleet.complete()
        yield fleet
    finally:
        relay.stop()
        stack.down(lambda _line: None)
        shutil.rmtree(_KEPT / "logs", ignore_errors=True)
        shutil.copytree(folder / "logs", _KEPT / "logs")
        stack.reset(lambda _line: None)


NewAccount = Callable[..., Account]


@pytest.fixture(scope="session")
def new_account(fleet: Fleet) -> NewAccount:
    """Make an organisation with as many contacts as a campaign is to have."""

    def make(recipients: int = RECIPIENTS) -> Account:
        with ThreadPoolExecutor(max_workers=1) as executor:  # the calling thread may have a loop that runs
            url = fleet.stack.plan.urls["gateway"]
            return executor.submit(asyncio.run, open_account(url, recipients)).result()

    return make


@pytest.fixture(scope="session")
def account(new_account: NewAccount) -> Account:
    """The organisation that most faults share."""
    return new_account()


@pytest_asyncio.fixture
async def launch(fleet: Fleet, request: pytest.FixtureRequest, report: Report) -> AsyncGenerator[Launch]:
    """Send a campaign: `launch("what goes wrong", faults of the relay)`."""
    async with contextlib.AsyncExitStack() as flights:

        async def start(
            fault: str, faults: Sequence[Fault] = (), *, by: Account | None = None, **conditions: Any
        ) -> Flight:
            account = by or request.getfixturevalue("account")
            return await flights.enter_async_context(
                launched(fault, fleet, account, report, Conditions(faults, **conditions))
            )

        yield start
