"""One private server each, in a folder of its own, for the stack and for tests alike."""

from posthorn_local.servers.postgres import PostgresServer
from posthorn_local.servers.rabbitmq import RabbitMQServer
from posthorn_local.servers.valkey import ValkeyServer

__all__ = ["PostgresServer", "RabbitMQServer", "ValkeyServer"]
