"""What can be wrong, each with a stable code.

AuthError
├── InvalidCredentials       unknown user, wrong password, or a user who was deactivated: the same answer for all
├── InvalidRefreshToken      unknown, expired, or of a session that is over
├── InvalidApiKey
├── TooManyAttempts          carries the seconds to wait
├── WeakPassword
├── EmailTaken
├── NotAllowed               the caller's role does not reach so far
├── LastOwner                an organisation keeps at least one active owner
├── UserNotFound, ApiKeyNotFound, SessionNotFound
├── ScopeNotHeld             an API key may do no more than its creator
└── ExpiryInThePast          an API key that could never be used
"""

from __future__ import annotations

from typing import ClassVar


class AuthError(Exception):
    """A rule of the auth service says no."""

    code: ClassVar[str] = "auth_error"


class InvalidCredentials(AuthError):
    """E-mail and password do not belong to an active user."""

    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__("E-mail or password is wrong.")


class InvalidRefreshToken(AuthError):
    """The refresh token is of no use any more."""

    code = "invalid_refresh_token"

    def __init__(self) -> None:
        super().__init__("The refresh token is not valid. Sign in again.")


class InvalidApiKey(AuthError):
    """The API key is unknown, expired or revoked."""

    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("The API key is not valid.")


class TooManyAttempts(AuthError):
    """Too many logins have failed."""

    code = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"Too many failed logins. Try again in {retry_after_seconds} seconds.")
        self.retry_after_seconds = retry_after_seconds


class WeakPassword(AuthError):
    """The password is too short, too long or too common."""

    code = "weak_password"


class EmailTaken(AuthError):
    """Another user has this e-mail address."""

    code = "email_taken"

    def __init__(self) -> None:
        super().__init__("A user with this e-mail address exists.")


class NotAllowed(AuthError):
    """The caller's role does not reach so far."""

    code = "role_not_sufficient"


class LastOwner(AuthError):
    """The organisation would be left without an owner."""

    code = "last_owner"

    def __init__(self) -> None:
        super().__init__("The organisation needs at least one active owner.")


class ScopeNotHeld(AuthError):
    """Somebody wants an API key that may do more than they may."""

    code = "scope_not_held"

    def __init__(self, scopes: list[str]) -> None:
        super().__init__(f"You do not have these permissions yourself: {', '.join(scopes)}.")


class ExpiryInThePast(AuthError):
    """Somebody wants an API key that is void already."""

    code = "expiry_in_the_past"

    def __init__(self) -> None:
        super().__init__("`expires_at` is in the past.")


class NotFound(AuthError):
    """There is no such thing in the caller's organisation."""


class UserNotFound(NotFound):
    """There is no such user."""

    code = "user_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such user.")


class ApiKeyNotFound(NotFound):
    """There is no such API key."""

    code = "api_key_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such API key.")


class SessionNotFound(NotFound):
    """There is no such session."""

    code = "session_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such session.")
