"""Passwords by Argon2id, with the parameters OWASP recommends (t=2, m=19 MiB, p=1), in a bounded pool of threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

_PASSWORD_NOBODY_HAS = "\x00 no user has this password"  # control characters are refused at the edge


class Argon2PasswordHasher:
    """See the port PasswordHasher."""

    def __init__(self, *, threads: int) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=argon2.Type.ID)
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="argon2")
        self._hash_of_nobody = self._hasher.hash(_PASSWORD_NOBODY_HAS)

    async def hash(self, password: str) -> str:
        """Return the encoded hash."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password fits; with None the work is done all the same and the answer is no."""
        wanted = self._hash_of_nobody if password_hash is None else password_hash
        fits = await asyncio.get_running_loop().run_in_executor(self._pool, self._fits, wanted, password)
        return fits and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the parameters are not those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False)

    def _fits(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
