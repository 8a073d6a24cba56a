"""The native stack: PostgreSQL, Valkey, RabbitMQ, a mail catcher and the five services."""
