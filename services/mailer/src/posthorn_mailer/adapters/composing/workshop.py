"""A process that makes messages and nothing else.

It has no secrets in its environment, a bound on its memory, and for each request a bound on its processor time, at
which the kernel ends it: fuel bounds the steps of a template, but one step that prints or compares lists within lists
may never end.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

import orjson

from posthorn_common.confined.inside import allow_seconds, confine
from posthorn_mailer.adapters.composing.frames import ANSWER_HEAD, BROKEN, DONE, REFUSED, REQUEST_HEAD, SLOW, Request
from posthorn_mailer.adapters.composing.press import Manuscript, Press, Reader, Unprintable

MEMORY_BYTES = 256 * 1024 * 1024
# A message takes less than a hundred microseconds; one that uses all its fuel, some milliseconds.
_SLOW_CPU_SECONDS = 0.02
# Messages leave in pieces of about this size, so that neither side holds many of them.
_WRITTEN_AT_ONCE = 256 * 1024


class _Workshop:
    def __init__(self) -> None:
        self._manuscripts: dict[int, Manuscript] = {}
        self._presses: dict[int, Press] = {}

    def do(self, request: Request) -> None:
        """Work on a request and write the answers."""
        for number in request.forgotten:
            self._manuscripts.pop(number, None)
            self._presses.pop(number, None)
        for number, parts in request.manuscripts:
            self._manuscripts[number] = Manuscript(*parts)
        pieces: list[bytes] = []
        size = 0
        for number, *reader in request.tasks:
            prepared, began = number in self._presses, time.process_time()
            status, body = self._answer(number, reader)
            if prepared and time.process_time() - began > _SLOW_CPU_SECONDS:
                status += SLOW
            pieces += (ANSWER_HEAD.pack(status, len(body)), body)
            size += len(body)
            if size >= _WRITTEN_AT_ONCE:
                _write(pieces)
                pieces, size = [], 0
        _write(pieces)

    def _answer(self, number: int, reader: list[Any]) -> tuple[int, bytes]:
        try:
            press = self._presses.get(number)
            if press is None:
                press = self._presses[number] = Press(self._manuscripts[number])
            return DONE, press.message(Reader(*reader)) if reader else b""
        except Unprintable as error:
            return REFUSED, str(error).encode("utf-8", "replace")
        except MemoryError:
            raise  # ends the process, which says enough
        except Exception as error:  # noqa: BLE001  a defect of ours; only the kind: the text may quote the contact
            return BROKEN, type(error).__name__.encode()


def _write(pieces: list[bytes]) -> None:
    sys.stdout.buffer.write(b"".join(pieces))
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer requests until the input ends."""
    workshop = _Workshop()
    gc.collect()
    gc.freeze()
    confine(MEMORY_BYTES)
    source = sys.stdin.buffer
    while len(head := source.read(REQUEST_HEAD.size)) == REQUEST_HEAD.size:
        request = Request(*orjson.loads(source.read(REQUEST_HEAD.unpack(head)[0])))
        allow_seconds(request.seconds)
        workshop.do(request)


if __name__ == "__main__":
    main()
