"""How many requests may come, and what is said about it: draft-ietf-httpapi-ratelimit-headers-10."""

from __future__ import annotations

from dataclasses import dataclass, field

from posthorn_common.http.clients import address_group
from posthorn_common.tokens import Principal
from posthorn_gateway.app.ports import RateLimiter, Verdict
from posthorn_gateway.domain.errors import RateLimited

OwnHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Limits:
    """Requests a minute; 0 means no limit."""

    sign_in: int
    address: int
    organisation: int
    api_key: int
    recipient: int


@dataclass(slots=True)
class Counting:
    """Counts one request against every limit that it is under, and remembers what there is to say."""

    limiter: RateLimiter
    limits: Limits
    address: str
    _verdicts: list[tuple[str, Verdict]] = field(default_factory=list)

    async def sign_in(self) -> None:
        """Count a request for tokens. Raises RateLimited, as all of these."""
        await self._take("sign-in", address_group(self.address), self.limits.sign_in)

    async def recipient(self) -> None:
        """Count a hit on a link in mail."""
        await self._take("recipient", address_group(self.address), self.limits.recipient)

    async def stranger(self) -> None:
        """Count a request of whoever it may be, before that is looked into."""
        await self._take("address", address_group(self.address), self.limits.address)

    async def caller(self, principal: Principal) -> None:
        """Count a request of a known caller: against its organisation's share, and an API key's own."""
        await self._take("organisation", str(principal.organisation_id), self.limits.organisation)
        if principal.kind == "api_key":
            await self._take("api-key", str(principal.subject_id), self.limits.api_key)

    def headers(self) -> OwnHeaders:
        """Return what the answer says: the limits of the caller, each with what is left and for how many seconds."""
        if not self._verdicts:
            return []
        policies = ", ".join(f'"{name}";q={verdict.limit};w=60' for name, verdict in self._verdicts)
        left = ", ".join(
            f'"{name}";r={verdict.remaining};t={verdict.reset_seconds}' for name, verdict in self._verdicts
        )
        return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", left.encode())]

    async def _take(self, name: str, whose: str, per_minute: int) -> None:
        if not per_minute:
            return
        verdict = await self.limiter.take(f"{name}:{whose}", per_minute)
        self._verdicts.append((name, verdict))
        if not verdict.allowed:
            raise RateLimited(verdict.retry_after_seconds)
