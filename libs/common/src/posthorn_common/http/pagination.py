"""Keyset pages: `?limit&cursor` → `{items, next_cursor}`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from fastapi import Depends, Query
from pydantic import BaseModel, Field

from posthorn_common.http.problems import ProblemError

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


class Page(BaseModel, Generic[Item]):
    """One page of a list. `next_cursor` is null on the last page."""

    items: list[Item]
    next_cursor: str | None = Field(description="Give it back as `cursor` to get the next page.")


class PageQuery:
    """The page a caller asks for. `after` is the decoded cursor: the sort key of the last item seen, or None."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items per page.")] = DEFAULT_LIMIT,
        cursor: Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")] = None,
    ) -> None:
        self.limit = limit
        self.after: list[Any] | None = None if cursor is None else decode_cursor(cursor)


Paging = Annotated[PageQuery, Depends()]


def encode_cursor(*key: Any) -> str:
    """Return an opaque cursor for a sort key of JSON values, UUIDs and datetimes."""
    return base64.urlsafe_b64encode(orjson.dumps(key, default=str)).decode().rstrip("=")


def decode_cursor(cursor: str) -> list[Any]:
    """Return the sort key behind a cursor; answers 400 if it is not one of ours."""
    try:
        key = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise invalid_cursor() from error
    if not isinstance(key, list):
        raise invalid_cursor()
    return key


def invalid_cursor() -> ProblemError:
    """Return the error for a cursor that cannot be read."""
    return ProblemError(400, "invalid_cursor", "The cursor is not one that this API returned.")


def id_after(page: PageQuery) -> UUID | None:
    """Return the id in the cursor of a list that is sorted by id alone; answers 400 if there is none in it."""
    if page.after is None:
        return None
    try:
        (text,) = page.after
        return UUID(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid_cursor() from error
