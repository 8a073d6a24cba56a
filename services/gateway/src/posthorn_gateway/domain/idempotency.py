"""Requests that are carried out once, however often they come: draft-ietf-httpapi-idempotency-key-header-07."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from uuid import UUID

from posthorn_gateway.domain.errors import InvalidIdempotencyKey

KEPT_SECONDS = 24 * 3600
"""How long a key is remembered."""

MAX_KEY_CHARACTERS = 255
MAX_ANSWER_BYTES = 256 * 1024
"""Longer answers are passed on and not kept; only that the request was carried out is."""

# The draft says a quoted string of RFC 8941; most clients send the bare text.
KEY_PATTERN = r"^[!#-\[\]-~]+$"


def checked_key(values: Sequence[str]) -> str | None:
    """Return the key that a request has, None if it has none. Raises InvalidIdempotencyKey."""
    if not values:
        return None
    text = values[0].strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if len(values) > 1 or len(text) > MAX_KEY_CHARACTERS or not re.fullmatch(KEY_PATTERN, text):
        raise InvalidIdempotencyKey
    return text


def scope_of(organisation_id: UUID, subject_id: UUID, path: str, key: str) -> str:
    """Return what a key is kept under: two callers, or two paths, may use the same key and never meet."""
    parts = (str(organisation_id), str(subject_id), path, key)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def was_carried_out(status: int) -> bool:
    """Tell from a service's answer whether it is the final one for its key.

    A refusal (4xx) and a service that cannot work (503) have changed nothing: the same key may be tried again. After
    any other error nobody knows, so that the error is the answer for good.
    """
    return status < 400 or (status >= 500 and status != 503)
