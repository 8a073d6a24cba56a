"""AUTH: PLAIN, LOGIN and XOAUTH2."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable

from posthorn_mailer.adapters.smtp.asking import Reply, ask
from posthorn_mailer.adapters.smtp.failures import Ended
from posthorn_mailer.adapters.smtp.protocol import SmtpProtocol
from posthorn_mailer.domain.replies import Stage, unanswered

_TOKEN_MARK = "Bearer "
_GO_ON = 3


async def sign_in(
    protocol: SmtpProtocol,
    offered: frozenset[str],
    username: str,
    password: Callable[[], Awaitable[str]],
    seconds: float,
) -> None:
    """Sign in by what the relay offers. Raises Ended.

    A password that begins with `Bearer ` is an OAuth 2 access token, for XOAUTH2 and nothing else. The password is
    asked for only where it can be used.
    """
    if not offered & {"PLAIN", "LOGIN", "XOAUTH2"}:
        raise Ended(unanswered(Stage.AUTH, _NO_WAY))
    dialogue = _Dialogue(protocol, seconds)
    secret = await password()
    if secret.startswith(_TOKEN_MARK):
        if "XOAUTH2" not in offered:
            raise Ended(unanswered(Stage.AUTH, "The relay does not offer AUTH XOAUTH2"))
        await dialogue.xoauth2(username, secret.removeprefix(_TOKEN_MARK).strip())
    elif "PLAIN" in offered:
        await dialogue.plain(username, secret)
    elif "LOGIN" in offered:
        await dialogue.login(username, secret)
    else:
        raise Ended(unanswered(Stage.AUTH, _NO_WAY))


_NO_WAY = "The relay offers neither AUTH PLAIN nor AUTH LOGIN"


class _Dialogue:
    def __init__(self, protocol: SmtpProtocol, seconds: float) -> None:
        self._protocol = protocol
        self._seconds = seconds

    async def plain(self, username: str, password: str) -> None:
        """RFC 4616."""
        (await self._say(b"AUTH PLAIN " + _encoded(f"\0{username}\0{password}"))).expect(2)

    async def login(self, username: str, password: str) -> None:
        """Written down nowhere but in servers; some ask for the name although they were told it."""
        reply = (await self._say(b"AUTH LOGIN " + _encoded(username))).expect(_GO_ON)
        if _asks_for_name(reply.text):
            reply = (await self._say(_encoded(username))).expect(_GO_ON)
        (await self._say(_encoded(password))).expect(2)

    async def xoauth2(self, username: str, token: str) -> None:
        """Google's and Microsoft's; they tell why they refuse only after an empty line."""
        reply = await self._say(b"AUTH XOAUTH2 " + _encoded(f"user={username}\1auth=Bearer {token}\1\1"))
        if reply.code // 100 == _GO_ON:
            reply = await self._say(b"")
        reply.expect(2)

    async def _say(self, line: bytes) -> Reply:
        return await ask(self._protocol, Stage.AUTH, line + b"\r\n", self._seconds)


def _encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())


def _asks_for_name(prompt: str) -> bool:
    try:
        return base64.b64decode(prompt.encode("ascii", "replace")).lower().startswith(b"user")
    except binascii.Error:
        return False
