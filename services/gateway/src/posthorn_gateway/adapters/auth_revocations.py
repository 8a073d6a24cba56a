"""Auth asked for what it has revoked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from posthorn_common.errors import TransientError
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.auth.internal_v1 import RecentRevocations


class AuthRevocations:
    """See the port RevocationSource."""

    def __init__(self, auth: InternalClient) -> None:
        self._auth = auth

    async def within(self, seconds: float) -> Mapping[UUID, datetime]:
        """Return what was revoked within the last `seconds`, and when."""
        try:
            answer = await self._auth.get("/internal/revocations", RecentRevocations, params={"seconds": seconds})
        except InternalCallFailed as error:
            # An auth of the version before, or another internal secret: the next call may find it mended.
            raise TransientError(str(error)) from error
        return {item.id: item.revoked_at for item in answer.revoked}
