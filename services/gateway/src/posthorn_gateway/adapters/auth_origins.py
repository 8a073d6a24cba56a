"""Auth asked for the origins that organisations allow."""

from __future__ import annotations

from posthorn_common.errors import TransientError
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.auth.internal_v1 import AllCorsOrigins
from posthorn_gateway.app.ports import OrganisationOrigins


class AuthOrigins:
    """See the port OriginSource."""

    def __init__(self, auth: InternalClient) -> None:
        self._auth = auth

    async def of_all(self) -> OrganisationOrigins:
        """Return what every organisation allows."""
        try:
            answer = await self._auth.get("/internal/cors-origins", AllCorsOrigins)
        except InternalCallFailed as error:
            # An auth of the version before, or another internal secret: the next call may find it mended.
            raise TransientError(str(error)) from error
        return {item.organisation_id: frozenset(item.origins) for item in answer.organisations}
