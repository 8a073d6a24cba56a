"""What the other services know of a contact."""

from __future__ import annotations

from uuid import UUID

from posthorn_campaigns.domain.access_requests import Records
from posthorn_campaigns.domain.erasures import HoldingService
from posthorn_common.errors import TransientError
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.disclosures import Disclosure, DisclosureQuestion


class HttpRecordHolder:
    """See the port RecordHolder."""

    def __init__(self, client: InternalClient, service: HoldingService) -> None:
        self._client = client
        self.service = service

    async def disclose(self, organisation_id: UUID, contact_id: UUID, email: str) -> Records:
        """Return all that the service knows of a contact. Raises TransientError when it is away, or does not answer."""
        question = DisclosureQuestion(organisation_id=organisation_id, contact_id=contact_id, email=email)
        try:
            return (await self._client.post("/internal/contacts/disclosure", question, Disclosure)).records
        except InternalCallFailed as error:
            raise TransientError(f"{self.service} does not disclose what it knows") from error
