"""Events that every gateway process hears."""

from __future__ import annotations

from posthorn_common.messaging import EventBus
from posthorn_contracts.auth.v1 import ApiKeyRevoked, CorsOriginsChanged, SessionRevoked
from posthorn_gateway.app.origins import AllowedOrigins
from posthorn_gateway.app.revocations import Revocations

CONSUMER = "gateway"


class Consumers:
    """Handlers of events."""

    def __init__(self, revocations: Revocations, origins: AllowedOrigins) -> None:
        self._revocations = revocations
        self._origins = origins

    def subscribe(self, bus: EventBus) -> None:
        """Have the handlers called."""
        bus.subscribe_broadcast(SessionRevoked, self.on_session_revoked, consumer=CONSUMER)
        bus.subscribe_broadcast(ApiKeyRevoked, self.on_api_key_revoked, consumer=CONSUMER)
        bus.subscribe_broadcast(CorsOriginsChanged, self.on_cors_origins_changed, consumer=CONSUMER)

    async def on_session_revoked(self, event: SessionRevoked) -> None:
        """Refuse the session's tokens."""
        await self._revocations.revoke(event.data.session_id, event.occurred_at)

    async def on_api_key_revoked(self, event: ApiKeyRevoked) -> None:
        """Refuse the key's tokens."""
        await self._revocations.revoke(event.data.api_key_id, event.occurred_at)

    async def on_cors_origins_changed(self, _event: CorsOriginsChanged) -> None:
        """Ask auth which origins are allowed now."""
        await self._origins.ask()
