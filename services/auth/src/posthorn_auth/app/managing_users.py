"""Users of an organisation: add, change, deactivate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from posthorn_auth.app.joining import Actor, Joining, join, present_role
from posthorn_auth.app.managing_api_keys import tell_of_revoked_key
from posthorn_auth.app.passwords import NewPasswords
from posthorn_auth.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_auth.app.signing_in import revoke_all_sessions
from posthorn_auth.domain.errors import LastOwner, NotAllowed, TwoFactorMissing
from posthorn_auth.domain.users import (
    ADMIN,
    OWNER,
    Organisation,
    User,
    UserStatus,
    check_may_add,
    check_may_change,
)
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.auth.v1 import (
    UserDeactivated,
    UserDeactivatedData,
    UserRoleChanged,
    UserRoleChangedData,
)
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to add, with a first password."""

    name: str
    email: str
    password: str
    role: str


@dataclass(frozen=True, slots=True)
class UserChange:
    """What to change; None leaves it as it is."""

    name: str | None = None
    role: str | None = None
    status: UserStatus | None = None
    keep_api_keys: bool = False
    """Whether keys that the user has created stay, though they may do more than the user from now on."""


class ManagingUsers:
    """The use cases of users and the organisation."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        passwords: NewPasswords,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._passwords = passwords
        self._clock = clock

    async def organisation(self, organisation_id: UUID) -> Organisation:
        """Return the caller's organisation."""
        async with self._new_unit_of_work() as uow:
            return await uow.users.organisation(organisation_id)

    async def change_organisation(
        self, actor: Actor, *, name: str | None = None, two_factor_required: bool | None = None
    ) -> Organisation:
        """Change what is not None. A second factor that becomes required ends the sessions of all who have none.

        Raises TwoFactorMissing if the actor has none.
        """
        async with self._new_unit_of_work() as uow:
            before = await uow.users.lock_organisation(actor.organisation_id)
            changed = replace(
                before,
                name=before.name if name is None else name,
                two_factor_required=before.two_factor_required if two_factor_required is None else two_factor_required,
            )
            await uow.users.save_organisation(changed)
            if two_factor_required:
                await self._require_two_factor(uow, actor)
        return changed

    async def _require_two_factor(self, uow: UnitOfWork, actor: Actor) -> None:
        # Logins look at the switch under a lock: whoever saw it off has a session by now, and it ends here.
        without = await uow.users.without_two_factor(actor.organisation_id)
        if any(user.id == actor.user_id for user in without):
            raise TwoFactorMissing
        for user in without:
            await revoke_all_sessions(uow, user, self._clock)

    async def get_user(self, organisation_id: UUID, user_id: UUID) -> User:
        """Return a user of the organisation. Raises UserNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.users.get(organisation_id, user_id)

    async def list_users(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[User]:
        """Return users in order of their ids, after `after`."""
        async with self._new_unit_of_work() as uow:
            return await uow.users.page(organisation_id, after, limit)

    async def add_user(self, actor: Actor, wanted: NewUser) -> User:
        """Add a user. Raises NotAllowed, WeakPassword, EmailTaken."""
        check_may_add(actor.role, wanted.role)
        password_hash = await self._passwords.hash(wanted.password, name=wanted.name, email=wanted.email)
        joining = Joining(
            organisation_id=actor.organisation_id,
            email=wanted.email,
            name=wanted.name,
            role=wanted.role,
            password_hash=password_hash,
            email_verified=False,
        )
        async with self._new_unit_of_work() as uow:
            check_may_add(await present_role(uow, actor), wanted.role)
            return await join(uow, joining, self._clock)

    async def change_user(self, actor: Actor, user_id: UUID, change: UserChange) -> User:
        """Change a user; who is deactivated or gets another role has to sign in again.

        Raises UserNotFound, NotAllowed, LastOwner.
        """
        async with self._new_unit_of_work() as uow:
            owners = await uow.users.lock_active_owners(actor.organisation_id)
            user = await uow.users.lock(actor.organisation_id, user_id)
            check_may_change(actor.user_id, await present_role(uow, actor), user, change.role)
            changed = replace(
                user,
                name=user.name if change.name is None else change.name,
                role=user.role if change.role is None else change.role,
                status=user.status if change.status is None else change.status,
                updated_at=self._clock.now(),
            )
            if owners == [user.id] and not (changed.role == OWNER and changed.is_active):
                raise LastOwner
            await uow.users.save(changed)
            await self._tell(uow, user, changed)
            if not change.keep_api_keys:
                await self._revoke_keys(uow, changed)
        return changed

    async def transfer_ownership(self, actor: Actor, user_id: UUID) -> User:
        """Make another active user the owner in the actor's place, who becomes an admin; both sign in again.

        Raises UserNotFound, NotAllowed.
        """
        async with self._new_unit_of_work() as uow:
            owners = await uow.users.lock_active_owners(actor.organisation_id)
            heir = await uow.users.lock(actor.organisation_id, user_id)
            if actor.user_id not in owners or user_id == actor.user_id:
                raise NotAllowed("Only an owner can hand the organisation over, to another user.")
            if not heir.is_active:
                raise NotAllowed("The user is deactivated.")
            giver = await uow.users.lock(actor.organisation_id, actor.user_id)
            now = self._clock.now()
            for before, role in ((heir, OWNER), (giver, ADMIN)):
                after = replace(before, role=role, updated_at=now)
                await uow.users.save(after)
                await self._tell(uow, before, after)
                await self._revoke_keys(uow, after)
        return replace(heir, role=OWNER, updated_at=now)

    async def _revoke_keys(self, uow: UnitOfWork, user: User) -> None:
        """Make the user's keys void that may do more than the user: who leaves has seen them."""
        allowed = frozenset(ROLE_PERMISSIONS[Role(user.role)]) if user.is_active else frozenset()
        now = self._clock.now()
        for key_id in await uow.api_keys.revoke_excess(user.organisation_id, user.id, allowed, now):
            await tell_of_revoked_key(uow, user.organisation_id, key_id, self._clock)

    async def _tell(self, uow: UnitOfWork, before: User, after: User) -> None:
        organisation_id = after.organisation_id
        if after.role != before.role:
            role_data = UserRoleChangedData(user_id=after.id, previous_role=Role(before.role), role=Role(after.role))
            await uow.publish(event(UserRoleChanged, after.id, organisation_id, role_data, self._clock))
        if before.is_active and not after.is_active:
            data = UserDeactivatedData(user_id=after.id)
            await uow.publish(event(UserDeactivated, after.id, organisation_id, data, self._clock))
        if after.role != before.role or not after.is_active:
            # Access tokens carry the permissions of the old role: they end with their sessions.
            await revoke_all_sessions(uow, after, self._clock)
