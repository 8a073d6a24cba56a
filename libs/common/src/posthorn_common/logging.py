"""Structured logs: one JSON object a line on standard output, with ids and without secrets or addresses."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_ADDRESS = re.compile(r"[A-Za-z0-9._%+\-]{1,64}@[A-Za-z0-9.\-]{1,255}\.[A-Za-z]{2,}")
_SECRET_NAMES = frozenset(
    {"authorization", "password", "token", "access_token", "refresh_token", "api_key", "secret", "cookie", "email"}
)


# Without local variables: they hold tokens, bodies and addresses.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask values of secret names, and anything that looks like an e-mail address, wherever it stands."""
    return {
        name: "[redacted]" if name.lower() in _SECRET_NAMES else _without_addresses(value)
        for name, value in event.items()
    }


def _without_addresses(value: Any) -> Any:
    if isinstance(value, str):
        # The expression tries each character as a beginning: most texts need not be searched.
        return _ADDRESS.sub("[address]", value) if "@" in value else value
    if isinstance(value, dict):
        return {name: _without_addresses(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_addresses(item) for item in value]
    return value


def configure_logging(*, service: str, level: str) -> None:
    """Send structlog's and the standard library's records to standard output as JSON lines."""

    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _tracebacks,
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_to_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "aio_pika", "aiormq", "uvicorn.access", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _to_json(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
