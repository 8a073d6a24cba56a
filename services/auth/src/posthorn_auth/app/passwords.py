"""What use cases do with passwords: choose new ones, and ask for the present one again."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from posthorn_auth.app.ports import LoginThrottle, NewUnitOfWork, PasswordHasher
from posthorn_auth.domain.credentials import new_secret
from posthorn_auth.domain.errors import InvalidCredentials
from posthorn_auth.domain.passwords import check_password
from posthorn_auth.domain.users import User


class NewPasswords:
    """Checks and hashes passwords that people choose."""

    def __init__(self, *, hasher: PasswordHasher, common: Collection[str]) -> None:
        self._hasher = hasher
        self._common = common

    async def hash(self, password: str, *, name: str, email: str, more: tuple[str, ...] = ()) -> str:
        """Return the hash of a password that is good enough for the user. Raises WeakPassword."""
        check_password(password, common=self._common, context=(name, email.partition("@")[0], *more))
        return await self._hasher.hash(password)

    async def hash_of_nobody(self) -> str:
        """Return the hash of a password that nobody knows, for a user who signs in elsewhere."""
        return await self._hasher.hash(new_secret())


class PasswordProof:
    """Asks for the password again before something grave. Whoever found an open session must not guess on."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, hasher: PasswordHasher, throttle: LoginThrottle) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._hasher = hasher
        self._throttle = throttle

    async def check(self, organisation_id: UUID, user_id: UUID, password: str, address: str) -> User:
        """Return the user whose password it is. Raises UserNotFound, InvalidCredentials, TooManyAttempts."""
        async with self._new_unit_of_work() as uow:
            user = await uow.users.get(organisation_id, user_id)
        await self._throttle.attempt(user.email, address)
        if not await self._hasher.verify(password, user.password_hash):
            raise InvalidCredentials
        await self._throttle.succeed(user.email, address)
        return user
