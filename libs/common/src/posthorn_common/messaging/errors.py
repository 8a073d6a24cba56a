"""What can go wrong between a service and the broker.

TransientError
└── BrokerUnavailable   no connection, or no confirm in time: the event may or may not be stored; publish it again
EventNotStored
├── EventNotRouted      the broker returned the event: no queue took it, not even the one for unrouted events
└── PublishRefused      the broker is there and refuses this event, for example because it is too large
"""

from __future__ import annotations

from posthorn_common.errors import TransientError


class BrokerUnavailable(TransientError):
    """RabbitMQ is away or did not confirm in time. Publish again, with the same id."""


class EventNotStored(Exception):
    """The broker answered, and has not stored the event."""


class ConsumerLost(TransientError):
    """A queue has no consumer although it should: the connection is made anew."""


class EventNotRouted(EventNotStored):
    """No queue took the event."""


class PublishRefused(EventNotStored):
    """The broker refuses the event."""
