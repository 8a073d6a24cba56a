"""Tasks on their way to a workshop, and who waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from posthorn_common.confined.outside import DidNotStart
from posthorn_mailer.adapters.composing.bench import Bench, Task, WorkshopEnded
from posthorn_mailer.adapters.composing.frames import DONE, REFUSED, SLOW
from posthorn_mailer.app.metrics import WORKSHOPS_ENDED
from posthorn_mailer.app.ports_content import CannotCompose, CompositionFailed

log = structlog.get_logger(__name__)

_GROUP_CHARACTERS = 1024 * 1024
POISONOUS_MESSAGES = 10
_STARTS = 4
_FIRST_PAUSE_SECONDS = 0.25


class MessageBroke(Exception):
    """A defect of ours has kept a message from being made; the text says only of what kind."""


@dataclass(eq=False, slots=True)
class Conduct:
    """What is known of a campaign's messages."""

    campaign_id: UUID
    apart: bool = False
    """Whether they may not be in a group with others any more."""
    poisonous: int = 0
    """How many have ended a workshop while they were alone there."""

    def check(self) -> None:
        """Raises CompositionFailed when so many have that no more are tried."""
        if self.poisonous >= POISONOUS_MESSAGES:
            raise CompositionFailed("Too many messages of this campaign take too much time or memory to render.")


class Order:
    """A task that somebody waits for."""

    __slots__ = ("answer", "conduct", "task", "tries")

    def __init__(self, conduct: Conduct, task: Task) -> None:
        self.conduct = conduct
        self.task = task
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.tries = 0

    def wanted(self) -> bool:
        """Whether somebody waits for it still; whoever does so in vain is told."""
        try:
            self.conduct.check()
        except CompositionFailed as error:
            self.fail(error)
        return not self.answer.done()

    def take(self, status: int, body: bytes) -> None:
        """Take a workshop's answer."""
        if status >= SLOW:
            self.conduct.apart = True
            status -= SLOW
        if self.answer.done():  # nobody waits any more
            return
        if status == DONE:
            self.answer.set_result(body)
        elif status == REFUSED:
            self.answer.set_exception(CompositionFailed(body.decode()))
        else:
            log.error("message_broke", campaign_id=str(self.conduct.campaign_id), error=body.decode())
            self.answer.set_exception(MessageBroke(body.decode()))

    def fail(self, error: Exception) -> None:
        """Let whoever waits know that there will be no message."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Queue:
    """Orders that wait for one workshop. What is wanted by then goes to it together, when it is free.

    `on_failed` takes those that were not answered, with WorkshopEnded or whatever else has kept them from it. With
    `idle_seconds` the workshop ends when it has had nothing to do for so long.
    """

    def __init__(
        self,
        group: int,
        cpu_seconds: float,
        on_failed: Callable[[list[Order], Exception], None],
        *,
        idle_seconds: float | None = None,
    ) -> None:
        self.bench = Bench()
        self._group = group
        self._cpu_seconds = cpu_seconds
        self._on_failed = on_failed
        self._idle_seconds = idle_seconds
        self._waiting: deque[Order] = deque()
        self._given: deque[Order] = deque()
        self._working: asyncio.Task[None] | None = None
        self._rest: asyncio.TimerHandle | None = None

    def put(self, order: Order) -> None:
        """Have it done."""
        self._waiting.append(order)
        if self._working is None:
            # Begins in the loop's next turn: all that is wanted in this one goes together.
            self._working = asyncio.create_task(self._work(), name="workshop")

    async def close(self) -> None:
        """End the workshop; nobody gets an answer any more."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        for order in (*self._given, *self._waiting):
            order.answer.cancel()
        if self._rest is not None:
            self._rest.cancel()
        self.bench.end()

    async def _work(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        try:
            while orders := self._next():
                await self._do(orders)
        finally:
            self._working = None
        if self._idle_seconds is not None:
            self._rest = asyncio.get_running_loop().call_later(self._idle_seconds, self.bench.end)

    def _next(self) -> list[Order]:
        orders: list[Order] = []
        characters = 0
        while self._waiting and len(orders) < self._group and characters < _GROUP_CHARACTERS:
            order = self._waiting.popleft()
            if order.wanted():
                orders.append(order)
                characters += len(order.task.reader.fields) if order.task.reader is not None else 0
        return orders

    async def _do(self, orders: list[Order]) -> None:
        self._given = deque(orders)
        try:
            await self._start()
            tasks = [order.task for order in orders]
            await self.bench.work(tasks, self._answer, cpu_seconds=self._cpu_seconds)
        except CannotCompose as error:
            for order in self._given:
                order.fail(error)
        except Exception as error:  # noqa: BLE001  it is passed on
            left, self._given = list(self._given), deque()
            code = error.exit_code if isinstance(error, WorkshopEnded) else None
            WORKSHOPS_ENDED.inc()
            log.warning("workshop_ended", error=type(error).__name__, exit_code=code, unanswered=len(left))
            self.bench.end()
            self._on_failed(left, error)

    def _answer(self, status: int, body: bytes) -> None:
        self._given.popleft().take(status, body)

    async def _start(self) -> None:
        """Have a process. Raises CannotCompose after some tries."""
        pause = _FIRST_PAUSE_SECONDS
        for left in reversed(range(_STARTS)):
            try:
                await self.bench.start()
            except (DidNotStart, OSError) as error:
                log.error("workshop_does_not_start", error=str(error))  # noqa: TRY400  it has said why itself
                if not left:
                    raise CannotCompose("The process that makes messages does not start.") from error
                await asyncio.sleep(pause)
                pause *= 2
            else:
                return
