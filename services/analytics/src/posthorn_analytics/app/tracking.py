"""Tracking: what happens when a message's pixel is loaded or one of its links is followed."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import structlog

from posthorn_analytics.app.links import LinkTables
from posthorn_analytics.app.ports import HitMetrics
from posthorn_analytics.app.recording import HitBuffer
from posthorn_analytics.domain.machines import is_machine
from posthorn_analytics.domain.recipients import Hit, HitKind
from posthorn_common.clock import Clock, new_id
from posthorn_common.errors import TransientError
from posthorn_contracts.recipient_tokens import InvalidRecipientToken, RecipientToken

log = structlog.get_logger(__name__)

_WEB = ("http://", "https://")


class LinkUnknown(Exception):
    """The link was not made by us, or leads nowhere."""


class Tracking:
    """The use cases of tracking. `counted` is False for HEAD requests: they are answered, and nothing else."""

    def __init__(
        self, *, link_secret: bytes, links: LinkTables, buffer: HitBuffer, metrics: HitMetrics, clock: Clock
    ) -> None:
        self._secret = link_secret
        self._links = links
        self._buffer = buffer
        self._metrics = metrics
        self._clock = clock

    async def open(self, token: str, headers: Mapping[str, str], *, counted: bool) -> None:
        """The pixel was loaded. Raises LinkUnknown."""
        recipient = self._verified(token, HitKind.OPEN)
        if not counted:
            self._metrics.count(HitKind.OPEN, "head")
            return
        try:
            table = await self._links.of(recipient.campaign_id)
        except TransientError:
            # The picture is shown nevertheless; whose campaign it is cannot be known now.
            log.warning("open_lost", campaign_id=str(recipient.campaign_id))
            self._metrics.count(HitKind.OPEN, "lost")
            return
        if table is None:
            self._metrics.count(HitKind.OPEN, "unknown_campaign")
            raise LinkUnknown
        await self._buffer.add(self._hit(recipient, table.organisation_id, HitKind.OPEN, headers))

    async def click(self, token: str, number: str, headers: Mapping[str, str], *, counted: bool) -> str:
        """A link was followed; return where it leads. Raises LinkUnknown, or TransientError if nobody can be asked."""
        recipient = self._verified(token, HitKind.CLICK)
        table = await self._links.of(recipient.campaign_id)
        if table is not None and table.urls is None:
            raise TransientError("the campaign's links are not known yet")
        link_number = _number(number)
        url = None if table is None or link_number is None else (table.urls or {}).get(link_number)
        if table is None or url is None or not url.lower().startswith(_WEB):
            self._metrics.count(HitKind.CLICK, "unknown_link")
            raise LinkUnknown
        if counted:
            await self._buffer.add(
                self._hit(recipient, table.organisation_id, HitKind.CLICK, headers, link_number, url)
            )
        else:
            self._metrics.count(HitKind.CLICK, "head")
        return url

    def _verified(self, token: str, kind: HitKind) -> RecipientToken:
        try:
            return RecipientToken.verify(token, self._secret)
        except InvalidRecipientToken as error:
            self._metrics.count(kind, "invalid_token")
            raise LinkUnknown from error

    def _hit(
        self,
        recipient: RecipientToken,
        organisation_id: UUID,
        kind: HitKind,
        headers: Mapping[str, str],
        link_number: int | None = None,
        url: str | None = None,
    ) -> Hit:
        return Hit(
            id=new_id(),
            organisation_id=organisation_id,
            campaign_id=recipient.campaign_id,
            contact_id=recipient.contact_id,
            kind=kind,
            at=self._clock.now(),
            is_machine=is_machine(headers),
            link_number=link_number,
            url=url,
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
