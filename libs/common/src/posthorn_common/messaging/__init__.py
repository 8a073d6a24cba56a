"""Events between services, through RabbitMQ. `docs/adr/0009-events-through-rabbitmq.md` says why it is as it is."""

from posthorn_common.messaging.bus import EventBus, connect
from posthorn_common.messaging.commands import dead_letter_commands
from posthorn_common.messaging.dead_letters import DeadLetter, list_dead_letters, redrive_dead_letters
from posthorn_common.messaging.delivery import Handler
from posthorn_common.messaging.errors import BrokerUnavailable, EventNotRouted, PublishRefused

__all__ = [
    "BrokerUnavailable",
    "DeadLetter",
    "EventBus",
    "EventNotRouted",
    "Handler",
    "PublishRefused",
    "connect",
    "dead_letter_commands",
    "list_dead_letters",
    "redrive_dead_letters",
]
