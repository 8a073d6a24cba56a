"""Has messages made in workshops, so that no template can stop or fill the worker, or anybody else's messages.

All campaigns share one workshop, which gets in one group whatever is wanted at the same time. When it ends over a
group, what it has not answered goes to a second one, one message at a time: what ends that one fails, and its campaign
stays there, where it can only stop itself; so does one that is slow. After some messages that have ended the second
workshop the rest of their campaign fails without a try.
"""

from __future__ import annotations

import itertools
import signal
from datetime import datetime
from uuid import UUID

import structlog

from posthorn_mailer.adapters.composing.bench import Task, WorkshopEnded
from posthorn_mailer.adapters.composing.manuscripts import Editor
from posthorn_mailer.adapters.composing.press import Manuscript
from posthorn_mailer.adapters.composing.queues import Conduct, MessageBroke, Order, Queue
from posthorn_mailer.app.ports_content import CompositionFailed, Recipient
from posthorn_mailer.app.ports_transport import OutgoingMessage

log = structlog.get_logger(__name__)

_GROUP = 64
# So long others may have to wait. A message takes less than a hundred microseconds.
_GROUP_CPU_SECONDS = 0.25
# Ten times what a template takes that uses all its fuel and prints as much as it may.
_ALONE_CPU_SECONDS = 1.0
# SIGKILL comes from somebody else, who may have meant the process, or the memory that the message takes.
_TRIES_UNDER_SIGKILL = 3
_IDLE_SECONDS = 10.0

_TOO_EXPENSIVE = "The template takes too much time or memory to render."


class ConfinedPrinter:
    """See the port Printer. For one event loop."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._numbers = itertools.count(1)
        self.shared = Queue(_GROUP, _GROUP_CPU_SECONDS, self._suspect)
        self.apart = Queue(1, _ALONE_CPU_SECONDS, self._convict, idle_seconds=_IDLE_SECONDS)

    async def letter(self, content: str) -> ConfinedLetter:
        """Return the letter of a campaign's content. Raises CompositionFailed, CannotCompose."""
        campaign_id, manuscript = self._editor.manuscript(content)
        letter = ConfinedLetter(self, self._editor, campaign_id, manuscript, next(self._numbers))
        await letter.try_manuscript()
        return letter

    async def answer(self, conduct: Conduct, task: Task) -> bytes:
        """Return what a task of a campaign comes to. Raises CompositionFailed, CannotCompose, MessageBroke."""
        conduct.check()
        order = Order(conduct, task)
        (self.apart if conduct.apart else self.shared).put(order)
        return await order.answer

    async def close(self) -> None:
        """End the workshops."""
        for queue in (self.shared, self.apart):
            await queue.close()

    def _suspect(self, orders: list[Order], _error: Exception) -> None:
        for order in orders:
            self.apart.put(order)

    def _convict(self, orders: list[Order], error: Exception) -> None:
        for order in orders:
            if not isinstance(error, WorkshopEnded):
                order.fail(MessageBroke(type(error).__name__))
                continue
            order.tries += 1
            if error.exit_code == -signal.SIGKILL and order.tries < _TRIES_UNDER_SIGKILL:
                self.apart.put(order)
                continue
            conduct = order.conduct
            conduct.apart = True
            conduct.poisonous += 1
            log.warning("poisonous_message", campaign_id=str(conduct.campaign_id), so_far=conduct.poisonous)
            order.fail(CompositionFailed(_TOO_EXPENSIVE))


class ConfinedLetter:
    """See the port Letter."""

    def __init__(
        self, printer: ConfinedPrinter, editor: Editor, campaign_id: UUID, manuscript: Manuscript, number: int
    ) -> None:
        self._printer = printer
        self._editor = editor
        self._campaign_id = campaign_id
        self._manuscript = manuscript
        self._number = number
        self.conduct = Conduct(campaign_id)

    async def try_manuscript(self) -> None:
        """Raises CompositionFailed if no message can be made of it."""
        await self._printer.answer(self.conduct, Task(self._number, self._manuscript, None))

    async def compose(self, recipient: Recipient, dated: datetime) -> OutgoingMessage:
        """Return the message for a recipient. Raises CompositionFailed, CannotCompose, MessageBroke."""
        reader = self._editor.reader(self._campaign_id, recipient, dated)
        content = await self._printer.answer(self.conduct, Task(self._number, self._manuscript, reader))
        return OutgoingMessage(self._manuscript.from_email, reader.to, content, wire_ready=True)
