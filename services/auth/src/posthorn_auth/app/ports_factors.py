"""What second factors need from outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn_auth.domain.second_factors import SecondFactor


class Factors(Protocol):
    """Stored second factors, recovery codes, and logins that wait for one. All times are the database's."""

    async def get(self, user_id: UUID) -> SecondFactor | None: ...
    async def begin(self, factor: SecondFactor) -> None:
        """Store an unconfirmed factor in place of one that is unconfirmed."""
        ...

    async def confirm(self, user_id: UUID) -> None: ...
    async def use_step(self, user_id: UUID, step: int) -> bool:
        """Note the period of a code; False if it, or a later one, was used before."""
        ...

    async def replace_codes(self, user_id: UUID, hashes: Sequence[bytes]) -> None: ...
    async def use_code(self, user_id: UUID, code_hash: bytes) -> bool:
        """Make a recovery code void; return whether it was good."""
        ...

    async def codes_left(self, user_id: UUID) -> int: ...
    async def remove(self, user_id: UUID) -> None:
        """Forget the factor and its recovery codes."""
        ...

    async def add_challenge(self, token_hash: bytes, organisation_id: UUID, user_id: UUID) -> None: ...
    async def attempt(self, token_hash: bytes) -> tuple[UUID, UUID] | None:
        """Count an attempt at a challenge; return its organisation and user, None if it is over."""
        ...

    async def end_challenge(self, token_hash: bytes) -> bool:
        """Return whether it was there: of several callers one ends it."""
        ...

    async def void_challenges(self, user_id: UUID) -> None: ...
    async def delete_ended(self) -> int: ...


class AppCodes(Protocol):
    """Codes of authenticator apps (RFC 6238)."""

    def new_secret(self) -> str:
        """Return a new secret, base32."""
        ...

    def uri(self, secret: str, email: str) -> str:
        """Return the `otpauth:` URI that apps read as a QR code."""
        ...

    def step_of(self, secret: str, code: str, now: datetime) -> int | None:
        """Return the period whose code this is: the present one, or one beside it; None if it is none of them."""
        ...


class Box(Protocol):
    """Encrypts small secrets."""

    def seal(self, plaintext: bytes, *, purpose: str) -> bytes: ...
    def open(self, sealed: bytes, *, purpose: str) -> bytes: ...
