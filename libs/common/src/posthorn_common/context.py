"""Ids that follow a piece of work through every hop: request, event, job.

They live in structlog's context variables, so that every log line carries them.
"""

from __future__ import annotations

import secrets

from structlog.contextvars import get_contextvars


def correlation_id() -> str | None:
    """Return the id of the request (or root event) that the current work stems from."""
    value = get_contextvars().get("correlation_id")
    return None if value is None else str(value)


def traceparent() -> str | None:
    """Return the current W3C trace context header value, if any."""
    value = get_contextvars().get("traceparent")
    return None if value is None else str(value)


def child_traceparent(parent: str | None) -> str:
    """Return a traceparent of the same trace with a new span id, or of a new trace (W3C Trace Context §3.2)."""
    parts = (parent or "").split("-")
    if len(parts) == 4 and len(parts[1]) == 32 and len(parts[2]) == 16:
        return f"00-{parts[1]}-{secrets.token_hex(8)}-{parts[3][:2]}"
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
