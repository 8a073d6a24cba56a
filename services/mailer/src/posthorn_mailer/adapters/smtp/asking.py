"""One command, one reply: how a connection is made ready. Messages are handed over by `Transaction`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from posthorn_mailer.adapters.smtp.failures import Ended, not_smtp
from posthorn_mailer.adapters.smtp.protocol import SmtpProtocol
from posthorn_mailer.domain.replies import Attempt, Stage, replied, unanswered


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply at a stage; `text` has its lines separated by line feeds."""

    stage: Stage
    code: int
    text: str

    @property
    def attempt(self) -> Attempt:
        """The attempt that ends with this reply."""
        return replied(self.stage, self.code, self.text)

    def expect(self, kind: int) -> Reply:
        """Return the reply. Raises Ended unless its code begins with the digit `kind`."""
        if self.code // 100 != kind:
            raise Ended(self.attempt)
        return self


class Hearing:
    """Waits for one reply, from now on."""

    def __init__(self, protocol: SmtpProtocol, stage: Stage, seconds: float) -> None:
        self._protocol = protocol
        self._stage = stage
        self._heard: asyncio.Future[tuple[int, bytes] | str] = protocol.loop.create_future()
        if protocol.closed:
            self.failed(protocol.reason)
        else:
            protocol.listen(self, seconds)

    def replied(self, code: int, text: bytes) -> None:
        """See Listener."""
        self._protocol.hush()
        self._heard.set_result((code, text))

    def failed(self, reason: str) -> None:
        """See Listener."""
        if not self._heard.done():
            self._heard.set_result(reason)

    async def reply(self) -> Reply:
        """Return the reply. Raises Ended if there is none that makes sense."""
        heard = await self._heard
        if isinstance(heard, str):
            raise Ended(unanswered(self._stage, heard))
        code, raw = heard
        text = raw.decode("utf-8", "surrogateescape")
        if not 200 <= code < 600:
            raise Ended(unanswered(self._stage, not_smtp(f"{code} {text}")))
        return Reply(self._stage, code, text)


async def ask(protocol: SmtpProtocol, stage: Stage, line: bytes, seconds: float) -> Reply:
    """Say a command and return the reply. Raises Ended if there is none that makes sense."""
    protocol.write(line)
    return await Hearing(protocol, stage, seconds).reply()
