"""Errors that say whether trying again makes sense."""


class TransientError(Exception):
    """Something that should work later: a broker, database or service is away. Only this is retried."""
