"""API keys exchanged at auth."""

from __future__ import annotations

from uuid import UUID

from posthorn_common.errors import TransientError
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_common.tokens import InvalidToken
from posthorn_contracts.auth.internal_v1 import ApiKeyExchangeAnswer, ApiKeyExchangeRequest
from posthorn_gateway.app.ports import ExchangedKey

_VOID = frozenset({401, 404, 422})


class AuthKeyExchange:
    """See the port KeyExchange."""

    def __init__(self, auth: InternalClient) -> None:
        self._auth = auth

    async def exchange(self, api_key: str) -> ExchangedKey:
        """Return the token. Raises InvalidToken or TransientError."""
        request = ApiKeyExchangeRequest(api_key=api_key)
        try:
            answer = await self._auth.post("/internal/api-keys/exchange", request, ApiKeyExchangeAnswer)
        except InternalCallFailed as error:
            if error.status in _VOID:
                raise InvalidToken("API key void") from error
            # Anything else is not the caller's fault.
            raise TransientError(str(error)) from error
        return ExchangedKey(answer.access_token, answer.expires_in, UUID(answer.api_key_id))
