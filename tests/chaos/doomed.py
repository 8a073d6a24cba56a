"""A service's own program that kills itself at one point of the sending protocol: `doomed.py SERVICE POINT run …`.

The product has nothing for this: methods of its adapters are wrapped here before its command line starts. The process
ends by SIGKILL, as in a power cut: nothing is flushed, closed or given back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from posthorn_campaigns.adapters.db.campaigns import SqlCampaigns
from posthorn_campaigns.adapters.db.unit_of_work import SqlUnitOfWork as CampaignsUnitOfWork
from posthorn_common.outbox import OutboxRelay, relay
from posthorn_mailer.adapters.db.batches import SqlBatches
from posthorn_mailer.adapters.db.deliveries import SqlDeliveries
from posthorn_mailer.adapters.db.ledger import SqlLedgerPage
from posthorn_mailer.adapters.db.sends import SqlSends
from posthorn_mailer.adapters.db.unit_of_work import SqlUnitOfWork as MailerUnitOfWork
from posthorn_mailer.adapters.smtp.transport import SmtpMailTransport
from posthorn_mailer.app import planning
from posthorn_mailer.app.doorbell import Doorbell

STARTED, DRAINED = "campaigns.campaign.started.v1", "mailer.send.drained.v1"
# Whoever comes after us waits for our leases of outbox rows and of planning, and their minute is long.
_SHORT_LEASE_SECONDS = 5.0
_UNTIL_CONTENT_HAS_LEFT_SECONDS = 1.0

Wanted = Callable[..., bool]
"""Whether a call, by its arguments, is the one to die at; after a call its result comes first."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _any(*_arguments: Any) -> bool:
    return True


def _before(owner: type, name: str, wanted: Wanted = _any, *, nth: int = 1) -> None:
    """Die when a method is called for the `nth` time."""
    original, calls = getattr(owner, name), 0

    async def doomed(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += wanted(*arguments)
        if calls == nth:
            _die()
        return await original(self, *arguments, **options)

    setattr(owner, name, doomed)


def _after(
    owner: type, name: str, wanted: Wanted = _any, *, nth: int = 1, then: Callable[[Any], None] | None = None
) -> None:
    """Die when a method has done its work for the `nth` time; what its transaction has written is not committed."""
    original, calls = getattr(owner, name), 0

    async def doomed(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        result = await original(self, *arguments, **options)
        calls += wanted(result, *arguments)
        if calls == nth:
            _die() if then is None else then(self)
        return result

    setattr(owner, name, doomed)


def _after_commit(unit_of_work: type, owner: type, name: str, wanted: Wanted = _any) -> None:
    """Die when the transaction in which a method was called is committed, before anything else happens."""
    doomed_connections: list[Any] = []
    _after(owner, name, wanted, then=lambda repository: doomed_connections.append(repository._connection))
    commit = unit_of_work.__aexit__  # type: ignore[attr-defined]

    async def doomed(self: Any, *arguments: Any) -> None:
        await commit(self, *arguments)
        if self.connection in doomed_connections:
            _die()

    unit_of_work.__aexit__ = doomed  # type: ignore[attr-defined]


def _never(owner: type, name: str) -> None:
    """Have a process leave work of this kind to others."""

    async def nothing(self: Any, *_arguments: Any, **_options: Any) -> None:
        return None

    setattr(owner, name, nothing)


def _planning_only(then: Callable[[], None]) -> None:
    planning._LEASE_SECONDS = _SHORT_LEASE_SECONDS
    _never(SqlBatches, "claim")
    then()


def _on_content(share: int, then: Callable[[], None]) -> None:
    """Do something when the content of the message with this number is about to leave."""
    send, asked = SmtpMailTransport.send, 0

    async def doomed(self: Any, relay: Any, message: Any, may_go: Callable[[], bool]) -> Any:
        def asking() -> bool:
            nonlocal asked
            asked += 1
            if asked == share:
                then()
            return may_go()

        return await send(self, relay, message, asking)

    SmtpMailTransport.send = doomed  # type: ignore[assignment,method-assign]


def _soon() -> None:
    asyncio.get_running_loop().call_later(_UNTIL_CONTENT_HAS_LEFT_SECONDS, _die)


def _publishing(method: str, event_type: str) -> None:
    """Die at a step of the outbox relay that has this event in its hands."""
    relay._LEASE_SECONDS = _SHORT_LEASE_SECONDS
    _before(OutboxRelay, method, lambda rows, *_: any(row.event_type == event_type for row in rows))


def _opens(entry: Any) -> bool:
    return bool(entry.openings)


def _closes(entry: Any) -> bool:
    return bool(entry.closings)


def _found(result: Any, *_arguments: Any) -> bool:
    return result is not None


POINTS: dict[str, Callable[[], None]] = {
    "launch, uncommitted": lambda: _after(SqlCampaigns, "pin"),
    "launch, committed": lambda: _after_commit(CampaignsUnitOfWork, SqlCampaigns, "pin"),
    "launch, claimed by the relay": lambda: _publishing("_publish", STARTED),
    "launch, published": lambda: _publishing("_settle", STARTED),
    "order, uncommitted": lambda: _after(SqlSends, "start"),
    "order, committed": lambda: _after_commit(MailerUnitOfWork, SqlSends, "start"),
    "first page, uncommitted": lambda: _planning_only(lambda: _after(SqlDeliveries, "copy")),
    "first page, committed": lambda: _planning_only(lambda: _before(Doorbell, "send_all")),
    "last page, uncommitted": lambda: _planning_only(lambda: _after(SqlDeliveries, "copy", nth=2)),
    "last page, committed": lambda: _planning_only(lambda: _before(Doorbell, "send_all", nth=2)),
    "claim, uncommitted": lambda: _after(SqlBatches, "claim", _found),
    "claim, committed": lambda: _after_commit(MailerUnitOfWork, SqlBatches, "claim", _found),
    "open, unwritten": lambda: _before(SqlLedgerPage, "write", _opens),
    "open, written": lambda: _after(SqlLedgerPage, "write", lambda _result, entry: _opens(entry)),
    "content about to leave": lambda: _on_content(1, _die),
    "content has left": lambda: _on_content(10, _soon),
    "answered": lambda: _after(SmtpMailTransport, "send"),
    "close, unwritten": lambda: _before(SqlLedgerPage, "write", _closes),
    "close, written": lambda: _after(SqlLedgerPage, "write", lambda _result, entry: _closes(entry)),
    "batch done, uncommitted": lambda: _after(SqlBatches, "close"),
    "batch done, committed": lambda: _after_commit(MailerUnitOfWork, SqlBatches, "close"),
    "drained, uncommitted": lambda: _after(SqlSends, "mark_drained"),
    "drained, committed": lambda: _after_commit(MailerUnitOfWork, SqlSends, "mark_drained"),
    "drained, published": lambda: _publishing("_settle", DRAINED),
}

if __name__ == "__main__":
    service, point = sys.argv.pop(1), sys.argv.pop(1)
    POINTS[point]()
    import_module(f"posthorn_{service}.entrypoints.cli").main()
