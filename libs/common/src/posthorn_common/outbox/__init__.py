"""The outbox: events are rows of the transaction that makes them true; a relay publishes them afterwards.

A row is deleted only after the broker's confirm, by the token of the relay that claimed it. A relay that dies leaves
its rows claimed until the lease ends; then they go out again, with the same event ids. `docs/adr/0003-outbox.md` says
why it is our own.
"""

from posthorn_common.outbox.relay import EventPublisher, OutboxRelay
from posthorn_common.outbox.table import INSERT_SQL, Outbox, outbox_table

__all__ = ["INSERT_SQL", "EventPublisher", "Outbox", "OutboxRelay", "outbox_table"]
