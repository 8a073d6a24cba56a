"""The SMTP side: accepts everything up to 30 MB, and answers 250 only after the message is stored."""

from __future__ import annotations

import asyncio

from aiosmtpd.smtp import SMTP, Envelope, Session

from posthorn_local.mailcatcher.content import subject_and_id
from posthorn_local.mailcatcher.store import IncomingMessage, MessageStore
from posthorn_local.ports import LOOPBACK

MAX_MESSAGE_BYTES = 30 * 1024 * 1024


class _Handler:
    def __init__(self, store: MessageStore) -> None:
        self._store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        subject, message_id = subject_and_id(raw)
        await self._store.keep(IncomingMessage(envelope.mail_from or "", envelope.rcpt_tos, subject, message_id, raw))
        return "250 2.0.0 OK"


async def serve_smtp(store: MessageStore, port: int) -> asyncio.Server:
    """Listen for SMTP on loopback."""
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            _Handler(store),
            hostname="localhost",
            ident="Posthorn mail catcher",
            enable_SMTPUTF8=True,
            data_size_limit=MAX_MESSAGE_BYTES,
            loop=loop,
        )

    return await loop.create_server(protocol, LOOPBACK, port)
