"""A workshop as the service sees it: a process that is given tasks in groups, and may end over any of them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from posthorn_common.confined.outside import Confined
from posthorn_mailer.adapters.composing.frames import ANSWER_HEAD, Request, request_bytes
from posthorn_mailer.adapters.composing.press import MAX_MESSAGE_BYTES, Manuscript, Reader

_MODULE = "posthorn_mailer.adapters.composing.workshop"
_LETTERS_KEPT = 32
_PIPE_BYTES = 1024 * 1024
# Only for one that stands still: the kernel ends it when it has used the processor for as long as it may.
_GUARD_SECONDS = 60.0
_SECOND_LOOK_SECONDS = 1.0


class Task(NamedTuple):
    """What a workshop does: a message for a reader, or a trial of the manuscript where there is none."""

    number: int
    """The manuscript's, and always the same for the same manuscript."""
    manuscript: Manuscript
    reader: Reader | None


class WorkshopEnded(Exception):
    """The process has ended over its tasks."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class Bench:
    """One process, or none before it is started and after it has ended."""

    def __init__(self, *, guard_seconds: float = _GUARD_SECONDS) -> None:
        """A process that takes longer over a request than `guard_seconds` by the clock on the wall is ended."""
        self._guard_seconds = guard_seconds
        self._process: Confined | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._known: OrderedDict[int, None] = OrderedDict()
        self._unsent = memoryview(b"")
        self._buffer = bytearray(_PIPE_BYTES)
        self._start = self._end = 0
        self._unanswered = 0
        self._on_answer: Callable[[int, bytes], None] = _ignore
        self._over: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Have a process, if there is none. Raises DidNotStart, OSError."""
        if self._process is not None:
            return
        self._loop = asyncio.get_running_loop()
        starting = asyncio.ensure_future(asyncio.to_thread(Confined, _MODULE))
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_end_started)
            raise
        self._process = process
        for pipe in (process.stdin, process.stdout):
            os.set_blocking(pipe.fileno(), False)
            with contextlib.suppress(OSError):  # only faster; the system bounds what all pipes of a user may hold
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._loop.add_reader(process.stdout.fileno(), self._read)

    async def work(self, tasks: Sequence[Task], on_answer: Callable[[int, bytes], None], *, cpu_seconds: float) -> None:
        """Have tasks done. They are answered in their order, each as soon as it can be.

        Raises WorkshopEnded if the process ends before all are, or is not there.
        """
        if self._process is None:
            raise WorkshopEnded(0)
        self._unsent = memoryview(self._request(tasks, cpu_seconds))
        self._on_answer = on_answer
        self._unanswered = len(tasks)
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        guard = loop.call_later(self._guard_seconds, self._look_again)
        self._write()
        try:
            await self._over
        finally:
            guard.cancel()
            self._over = None

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._ended()

    def _request(self, tasks: Sequence[Task], cpu_seconds: float) -> bytes:
        new: list[tuple[int, list[str | None]]] = []
        for task in tasks:
            if task.number in self._known:
                self._known.move_to_end(task.number)
            else:
                self._known[task.number] = None
                new.append((task.number, [*task.manuscript]))
        needed = {task.number for task in tasks}
        forgotten: list[int] = []
        while len(self._known) > _LETTERS_KEPT and (oldest := next(iter(self._known))) not in needed:
            del self._known[oldest]
            forgotten.append(oldest)
        ordered: list[list[Any]] = [[task.number, *(task.reader or ())] for task in tasks]
        return request_bytes(Request(cpu_seconds, forgotten, new, ordered))

    def _write(self) -> None:
        """Write what there is room for; the process may be writing too, so never wait for it."""
        if self._process is None or self._loop is None:
            return
        fd = self._process.stdin.fileno()
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(fd, self._unsent) :]
        except BlockingIOError:
            self._loop.add_writer(fd, self._write)
            return
        except BrokenPipeError:
            self._unsent = memoryview(b"")  # that it has ended is read
        self._loop.remove_writer(fd)

    def _read(self) -> None:
        if self._process is None:
            return
        try:
            count = os.readv(self._process.stdout.fileno(), [memoryview(self._buffer)[self._end :]])
        except BlockingIOError:
            return
        self._end += count
        if count == 0 or not self._take_answers():
            self._ended()

    def _take_answers(self) -> bool:
        """Take what has come whole; return whether it is as it should be."""
        buffer = memoryview(self._buffer)
        needed = ANSWER_HEAD.size
        while self._end - self._start >= needed:
            status, length = ANSWER_HEAD.unpack_from(buffer, self._start)
            if length > MAX_MESSAGE_BYTES or not self._unanswered:
                return False
            first = self._start + ANSWER_HEAD.size
            needed = ANSWER_HEAD.size + length
            if self._end - self._start < needed:
                break
            self._start = first + length
            self._unanswered -= 1
            self._on_answer(status, bytes(buffer[first : self._start]))
            needed = ANSWER_HEAD.size
        self._make_room(needed)
        if not self._unanswered and self._over is not None and not self._over.done():
            self._over.set_result(None)
        return True

    def _make_room(self, needed: int) -> None:
        """Have a buffer whose free end takes what is still needed of the answer that has begun to come."""
        if self._start == self._end:
            self._start = self._end = 0
            if len(self._buffer) > _PIPE_BYTES:
                self._buffer = bytearray(_PIPE_BYTES)
        elif self._start + needed > len(self._buffer):
            begun = self._buffer[self._start : self._end]
            if needed > len(self._buffer):
                self._buffer = bytearray(needed)
            self._buffer[: len(begun)] = begun
            self._start, self._end = 0, len(begun)

    def _look_again(self) -> None:
        """Let what has come in the meantime be read first: it may be us who stood still."""
        if self._loop is not None and self._over is not None:
            over = self._over
            self._loop.call_later(_SECOND_LOOK_SECONDS, lambda: None if over.done() else self.end())

    def _ended(self) -> None:
        process, self._process = self._process, None
        if process is None or self._loop is None:
            return
        self._loop.remove_reader(process.stdout.fileno())
        self._loop.remove_writer(process.stdin.fileno())
        self._known.clear()
        self._unsent = memoryview(b"")
        self._start = self._end = 0
        exit_code = process.end()
        if self._over is not None and not self._over.done():
            self._over.set_exception(WorkshopEnded(exit_code))


def _ignore(_status: int, _body: bytes) -> None:
    pass


def _end_started(starting: asyncio.Future[Confined]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().end()
