"""The mailer's internal API."""

from __future__ import annotations

from uuid import UUID

from posthorn_campaigns.domain.errors import MessageRefused
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.mailer.internal_v1 import MessageAccepted, SuppressionStates, TransactionalMessage


class HttpMailer:
    """See the ports Mailer and SuppressionSource."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def send(self, message: TransactionalMessage) -> None:
        """Hand a message over. Raises MessageRefused, or TransientError when the mailer is away."""
        try:
            await self._client.post("/internal/messages", message, MessageAccepted)
        except InternalCallFailed as error:
            raise MessageRefused(error.code, error.detail) from error

    async def changed_suppressions(self, change_id: UUID) -> SuppressionStates:
        """Return how the addresses of a change are by now. Raises TransientError when the mailer is away."""
        return await self._client.get(f"/internal/suppression-changes/{change_id}", SuppressionStates)
