"""Second factors: set up, check, remove; recovery codes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from posthorn_auth.app.joining import Actor, present_role
from posthorn_auth.app.passwords import PasswordProof
from posthorn_auth.app.ports import LoginThrottle, NewUnitOfWork, UnitOfWork
from posthorn_auth.app.ports_factors import AppCodes, Box
from posthorn_auth.app.signing_in import revoke_all_sessions
from posthorn_auth.domain.errors import InvalidCode, NotAllowed, TwoFactorRequired, TwoFactorSetUp
from posthorn_auth.domain.mails import MailPurpose, NewMail
from posthorn_auth.domain.second_factors import (
    Enrolment,
    SecondFactor,
    hash_recovery_code,
    is_app_code,
    new_recovery_codes,
    normalised_code,
    secret_purpose,
)
from posthorn_auth.domain.users import User, check_may_change
from posthorn_common.clock import Clock


@dataclass(frozen=True, slots=True)
class FactorStatus:
    """What a user has set up."""

    enabled: bool
    required: bool
    recovery_codes_left: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What somebody shows again before something grave: password and code, and where from."""

    password: str
    code: str
    address: str


class SecondFactorCodes:
    """Makes and checks second factors within the transactions of others."""

    def __init__(self, *, codes: AppCodes, box: Box, recovery_key: bytes) -> None:
        self._codes = codes
        self._box = box
        self._recovery_key = recovery_key

    async def begin(self, uow: UnitOfWork, user: User) -> Enrolment:
        """Store a new secret that does not count yet, and return it."""
        secret = self._codes.new_secret()
        sealed = self._box.seal(secret.encode(), purpose=secret_purpose(user.id))
        await uow.factors.begin(SecondFactor(user.id, user.organisation_id, sealed, confirmed=False))
        return Enrolment(secret, self._codes.uri(secret, user.email))

    async def confirm(self, uow: UnitOfWork, user: User, code: str) -> tuple[User, list[str]] | None:
        """Let the secret count if the code is one of its codes; return the recovery codes, shown this once."""
        factor = await uow.factors.get(user.id)
        if factor is None or factor.confirmed or not await self._fits(uow, factor, normalised_code(code)):
            return None
        await uow.factors.confirm(user.id)
        changed = replace(user, two_factor=True)
        await uow.users.save(changed)
        return changed, await self.new_codes(uow, user)

    async def check(self, uow: UnitOfWork, user: User, code: str) -> bool:
        """Use up a code, of the app or for recovery; return whether it was good."""
        entered = normalised_code(code)
        if not is_app_code(entered):
            return await uow.factors.use_code(user.id, hash_recovery_code(entered, user.id, self._recovery_key))
        factor = await uow.factors.get(user.id)
        return factor is not None and factor.confirmed and await self._fits(uow, factor, entered)

    async def new_codes(self, uow: UnitOfWork, user: User) -> list[str]:
        """Store new recovery codes, in place of those before, tell the user, and return them."""
        codes = new_recovery_codes()
        hashes = [hash_recovery_code(code, user.id, self._recovery_key) for code in codes]
        await uow.factors.replace_codes(user.id, hashes)
        await tell_of_change(uow, user)
        return codes

    async def _fits(self, uow: UnitOfWork, factor: SecondFactor, code: str) -> bool:
        secret = self._box.open(factor.sealed_secret, purpose=secret_purpose(factor.user_id)).decode()
        step = self._codes.step_of(secret, code, await uow.users.now())
        return step is not None and await uow.factors.use_step(factor.user_id, step)


class ManagingSecondFactors:
    """The use cases of second factors."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        factors: SecondFactorCodes,
        proof: PasswordProof,
        throttle: LoginThrottle,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._factors = factors
        self._proof = proof
        self._throttle = throttle
        self._clock = clock

    async def status(self, organisation_id: UUID, user_id: UUID) -> FactorStatus:
        """Return what the user has set up. Raises UserNotFound."""
        async with self._new_unit_of_work() as uow:
            user = await uow.users.get(organisation_id, user_id)
            organisation = await uow.users.organisation(organisation_id)
            left = await uow.factors.codes_left(user.id)
        return FactorStatus(user.two_factor, organisation.two_factor_required, left)

    async def begin(self, organisation_id: UUID, user_id: UUID, password: str, address: str) -> Enrolment:
        """Return a new secret; it counts once `confirm` was given a code. Raises TwoFactorSetUp, InvalidCredentials."""
        await self._proof.check(organisation_id, user_id, password, address)
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(organisation_id, user_id)
            if user.two_factor:
                raise TwoFactorSetUp
            return await self._factors.begin(uow, user)

    async def confirm(self, organisation_id: UUID, user_id: UUID, session_id: UUID | None, code: str) -> list[str]:
        """Let the new secret count, and end all other sessions; return the recovery codes.

        Raises InvalidCode, TwoFactorSetUp. Guessing is of no use: whoever calls has the secret.
        """
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(organisation_id, user_id)
            if user.two_factor:
                raise TwoFactorSetUp
            confirmed = await self._factors.confirm(uow, user, code)
            if confirmed is None:
                raise InvalidCode
            await revoke_all_sessions(uow, user, self._clock, keep=session_id)
        return confirmed[1]

    async def disable(self, organisation_id: UUID, user_id: UUID, proof: Proof) -> None:
        """Remove the user's own factor. Raises InvalidCredentials, InvalidCode, TooManyAttempts, TwoFactorRequired."""
        await self._proof.check(organisation_id, user_id, proof.password, proof.address)
        user = await self._checked(organisation_id, user_id, proof)
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(organisation_id, user.id)  # first, as logins do
            organisation = await uow.users.organisation(organisation_id, stays=True)
            if organisation.two_factor_required:
                raise TwoFactorRequired
            await self._remove(uow, user)

    async def new_codes(self, organisation_id: UUID, user_id: UUID, proof: Proof) -> list[str]:
        """Return new recovery codes; all others are void. Raises InvalidCredentials, InvalidCode, TooManyAttempts."""
        await self._proof.check(organisation_id, user_id, proof.password, proof.address)
        user = await self._checked(organisation_id, user_id, proof)
        async with self._new_unit_of_work() as uow:
            return await self._factors.new_codes(uow, user)

    async def reset(self, actor: Actor, user_id: UUID) -> None:
        """Remove the factor of another user who has lost it, and end the user's sessions.

        Raises UserNotFound, NotAllowed.
        """
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(actor.organisation_id, user_id)
            check_may_change(actor.user_id, await present_role(uow, actor), user, None)
            if user.id == actor.user_id:
                raise NotAllowed("Your own second factor is removed with a code.")
            await self._remove(uow, user)
            await revoke_all_sessions(uow, user, self._clock)

    async def _checked(self, organisation_id: UUID, user_id: UUID, proof: Proof) -> User:
        """Return the user if the code is good. A code counts as an attempt: six digits could be guessed."""
        async with self._new_unit_of_work() as uow:
            user = await uow.users.get(organisation_id, user_id)
        await self._throttle.attempt_code(user.id)
        async with self._new_unit_of_work() as uow:
            user = await uow.users.lock(organisation_id, user_id)
            if not await self._factors.check(uow, user, proof.code):
                raise InvalidCode
        await self._throttle.succeed_code(user.id)
        return user

    async def _remove(self, uow: UnitOfWork, user: User) -> None:
        await uow.factors.remove(user.id)
        await uow.users.save(replace(user, two_factor=False))
        await tell_of_change(uow, user)


async def tell_of_change(uow: UnitOfWork, user: User) -> None:
    """Send the user a notice."""
    notice = NewMail(MailPurpose.TWO_FACTOR_CHANGED, user.email, organisation_id=user.organisation_id, user_id=user.id)
    await uow.mails.add(notice)
