"""Who may do what: the one table of roles and permissions.

A permission is `<resource>:<action>`. Auth writes the permissions of a role into the `scope` claim of each access
token (RFC 9068 §2.2.3); services ask for one permission per route and know nothing of roles.
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A user's role in an organisation, strongest first."""

    OWNER = "owner"
    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"


class Permission(StrEnum):
    """Something a caller may do within the organisation of its token."""

    ORGANISATION_READ = "organisation:read"
    ORGANISATION_WRITE = "organisation:write"
    CORS_WRITE = "cors:write"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    API_KEYS_READ = "api_keys:read"
    API_KEYS_WRITE = "api_keys:write"
    CONTACTS_READ = "contacts:read"
    CONTACTS_WRITE = "contacts:write"
    CONTACTS_ERASE = "contacts:erase"
    CONTACTS_DISCLOSE = "contacts:disclose"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    CAMPAIGNS_READ = "campaigns:read"
    CAMPAIGNS_WRITE = "campaigns:write"
    CAMPAIGNS_SEND = "campaigns:send"
    MESSAGES_SEND = "messages:send"
    RELAYS_READ = "relays:read"
    RELAYS_WRITE = "relays:write"
    DELIVERIES_READ = "deliveries:read"
    SUPPRESSIONS_READ = "suppressions:read"
    SUPPRESSIONS_WRITE = "suppressions:write"
    STATISTICS_READ = "statistics:read"
    AUDIT_READ = "audit:read"


_VIEWER = frozenset(
    {
        Permission.ORGANISATION_READ,
        Permission.CONTACTS_READ,
        Permission.TEMPLATES_READ,
        Permission.CAMPAIGNS_READ,
        Permission.DELIVERIES_READ,
        Permission.SUPPRESSIONS_READ,
        Permission.STATISTICS_READ,
    }
)
_EDITOR = _VIEWER | {
    Permission.CONTACTS_WRITE,
    Permission.TEMPLATES_WRITE,
    Permission.CAMPAIGNS_WRITE,
    Permission.CAMPAIGNS_SEND,
    Permission.MESSAGES_SEND,
    Permission.RELAYS_READ,
}
_ADMIN = _EDITOR | {
    Permission.CONTACTS_ERASE,
    Permission.CONTACTS_DISCLOSE,
    Permission.CORS_WRITE,
    Permission.USERS_READ,
    Permission.USERS_WRITE,
    Permission.API_KEYS_READ,
    Permission.API_KEYS_WRITE,
    Permission.RELAYS_WRITE,
    Permission.SUPPRESSIONS_WRITE,
    Permission.AUDIT_READ,
}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.EDITOR: _EDITOR,
    Role.ADMIN: _ADMIN,
    Role.OWNER: frozenset(Permission),
}
