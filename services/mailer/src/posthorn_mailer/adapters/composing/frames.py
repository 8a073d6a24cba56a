"""What goes through the pipes of a workshop.

To it: a length of four bytes, then JSON. From it, for each task in its order: one byte for what became of the task, a
length of four bytes, and a message as it will be sent, or words.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import orjson

REQUEST_HEAD = struct.Struct("<I")
ANSWER_HEAD = struct.Struct("<BI")

DONE, REFUSED, BROKEN = range(3)
"""What became of a task: a message (or nothing, where only a manuscript was tried); words for people; our defect."""

SLOW = 4
"""Added to that if it took so long that others should not have to wait behind its like."""


class Request(NamedTuple):
    """Tasks, and what is needed for them.

    Each task is the number of a letter, followed by the parts of a Reader unless the manuscript is only to be tried.
    `manuscripts` holds those that the workshop does not have yet, as number and parts; `forgotten` numbers of letters
    that it may drop first. `seconds` of processor time may be used in all.
    """

    seconds: float
    forgotten: list[int]
    manuscripts: list[tuple[int, Any]]
    tasks: list[list[Any]]


def request_bytes(request: Request) -> bytes:
    """Return a request as it goes to a workshop."""
    document = orjson.dumps(tuple(request))
    return REQUEST_HEAD.pack(len(document)) + document
