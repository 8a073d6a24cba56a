"""Users of an organisation, and who may change whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from posthorn_auth.domain.errors import NotAllowed

OWNER = "owner"
ADMIN = "admin"


class UserStatus(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"


@dataclass(frozen=True, slots=True)
class Organisation:
    """A tenant."""

    id: UUID
    name: str
    created_at: datetime
    two_factor_required: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """A person in an organisation."""

    id: UUID
    organisation_id: UUID
    email: str
    name: str
    role: str
    status: UserStatus
    password_hash: str
    created_at: datetime
    updated_at: datetime
    email_verified_at: datetime | None = None
    """When the user last proved to read mail at the address."""
    two_factor: bool = False
    """Whether signing in takes a code as well."""

    @property
    def email_verified(self) -> bool:
        """Whether the user has proved to read mail at the address."""
        return self.email_verified_at is not None

    @property
    def is_active(self) -> bool:
        """Whether the user may sign in."""
        return self.status is UserStatus.ACTIVE


def check_may_add(actor_role: str, role: str) -> None:
    """Raise NotAllowed unless someone of `actor_role` may add a user of `role`."""
    if actor_role == OWNER or (actor_role == ADMIN and role != OWNER):
        return
    raise NotAllowed("Only an owner can make somebody an owner.")


def check_may_change(actor_id: UUID, actor_role: str, user: User, new_role: str | None) -> None:
    """Raise NotAllowed unless the actor may change `user`, to `new_role` if one is given.

    Nobody changes their own role: an owner who steps down is made so by another owner.
    """
    if user.id == actor_id and new_role not in {None, user.role}:
        raise NotAllowed("Nobody can change their own role.")
    if actor_role == OWNER:
        return
    if actor_role != ADMIN or OWNER in {user.role, new_role}:
        raise NotAllowed("Only an owner can change owners.")
