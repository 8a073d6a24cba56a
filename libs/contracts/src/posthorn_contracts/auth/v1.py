"""Events of the auth service, version 1."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from posthorn_contracts.envelope import Event, Payload
from posthorn_contracts.permissions import Role


class OrganisationRegisteredData(Payload):
    organisation_id: UUID
    name: str
    owner_id: UUID


class OrganisationRegistered(Event):
    """An organisation exists, with its owner."""

    event_type: ClassVar[str] = "auth.organisation.registered.v1"
    is_for_others: ClassVar[bool] = True
    data: OrganisationRegisteredData


class UserAddedData(Payload):
    user_id: UUID
    role: Role


class UserAdded(Event):
    """A user belongs to an organisation."""

    event_type: ClassVar[str] = "auth.user.added.v1"
    is_for_others: ClassVar[bool] = True
    data: UserAddedData


class UserRoleChangedData(Payload):
    user_id: UUID
    previous_role: Role
    role: Role


class UserRoleChanged(Event):
    """A user has another role; tokens that were issued before carry the old permissions until they expire."""

    event_type: ClassVar[str] = "auth.user.role-changed.v1"
    is_for_others: ClassVar[bool] = True
    data: UserRoleChangedData


class UserDeactivatedData(Payload):
    user_id: UUID


class UserDeactivated(Event):
    """A user may no longer sign in; all of the user's sessions are over."""

    event_type: ClassVar[str] = "auth.user.deactivated.v1"
    is_for_others: ClassVar[bool] = True
    data: UserDeactivatedData


class SessionRevokedData(Payload):
    session_id: UUID
    user_id: UUID


class SessionRevoked(Event):
    """A session is over: logged out, or its refresh token was used twice."""

    event_type: ClassVar[str] = "auth.session.revoked.v1"
    data: SessionRevokedData


class ApiKeyRevokedData(Payload):
    api_key_id: UUID


class ApiKeyRevoked(Event):
    """An API key is void; the gateway drops its cached tokens."""

    event_type: ClassVar[str] = "auth.api-key.revoked.v1"
    data: ApiKeyRevokedData


class CorsOriginsChangedData(Payload):
    pass


class CorsOriginsChanged(Event):
    """An organisation allows other web pages to call the API for its users; auth tells which when it is asked."""

    event_type: ClassVar[str] = "auth.organisation.cors-origins-changed.v1"
    data: CorsOriginsChangedData
