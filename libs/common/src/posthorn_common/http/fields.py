"""Kinds of fields that requests have everywhere."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from posthorn_common.addresses import MAX_CHARACTERS, InvalidAddress, normalise_address

_LINE_BREAKS = frozenset("\x85\u2028\u2029")


class RequestModel(BaseModel):
    """A request body: frozen, and unknown fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def is_single_line(text: str) -> bool:
    """Whether text holds no control characters, line breaks or lone surrogates: safe in a mail header."""
    return not any(unicodedata.category(char) in {"Cc", "Cs"} or char in _LINE_BREAKS for char in text)


def _single_line(text: str) -> str:
    if not is_single_line(text):
        raise PydanticCustomError("control_characters", "must not contain line breaks or control characters")
    return text


def _address(text: str) -> str:
    try:
        return normalise_address(text)
    except InvalidAddress as error:
        raise PydanticCustomError("invalid_email", "is not a valid e-mail address: {reason}", {"reason": str(error)})  # noqa: B904  the cause says nothing more


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time_out_of_range", "is outside of the years 1 to 9999 in UTC") from None


SingleLine = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_single_line)
]
"""A name or title: 1 to 200 characters on one line."""

EmailAddress = Annotated[
    str,
    StringConstraints(max_length=MAX_CHARACTERS),
    AfterValidator(_address),
    Field(examples=["ada@example.com"], json_schema_extra={"format": "email"}),
]
"""An e-mail address, normalised."""

Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its zone, told in UTC: one at the edge of the calendar would be an error of the database."""
