"""How somebody becomes a user of an organisation, whichever way they come; and who somebody is by now."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from posthorn_auth.app.ports import UnitOfWork
from posthorn_auth.domain.errors import NotAllowed, UserNotFound
from posthorn_auth.domain.users import User, UserStatus
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event
from posthorn_contracts.auth.v1 import UserAdded, UserAddedData
from posthorn_contracts.permissions import Role


@dataclass(frozen=True, slots=True)
class Actor:
    """The user who does something, by their access token; an API key has no role."""

    organisation_id: UUID
    user_id: UUID
    role: str


@dataclass(frozen=True, slots=True)
class Joining:
    """A user to be."""

    organisation_id: UUID
    email: str
    name: str
    role: str
    password_hash: str
    email_verified: bool


async def join(uow: UnitOfWork, joining: Joining, clock: Clock) -> User:
    """Store a new user and tell others. Raises EmailTaken."""
    now = clock.now()
    user = User(
        id=new_id(),
        organisation_id=joining.organisation_id,
        email=joining.email,
        name=joining.name,
        role=joining.role,
        status=UserStatus.ACTIVE,
        password_hash=joining.password_hash,
        created_at=now,
        updated_at=now,
        email_verified_at=now if joining.email_verified else None,
    )
    concerns("user", user.id)
    await uow.users.add(user)
    data = UserAddedData(user_id=user.id, role=Role(user.role))
    await uow.publish(event(UserAdded, user.id, user.organisation_id, data, clock))
    return user


async def present_role(uow: UnitOfWork, actor: Actor) -> str:
    """Return the actor's role as it is now: their token may be older. Raises NotAllowed for who is deactivated."""
    try:
        user = await uow.users.get(actor.organisation_id, actor.user_id)
    except UserNotFound:
        return actor.role
    if not user.is_active:
        raise NotAllowed("You are no active user any more.")
    return user.role
