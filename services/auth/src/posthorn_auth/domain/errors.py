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
├── UserNotFound, ApiKeyNotFound, SessionNotFound, InvitationNotFound
├── LinkNotValid             the token of a mail is unknown, used, expired or void: the same answer for all
├── InvitationExists
├── ChallengeNotValid        a login that waits for a second factor no more
├── InvalidCode              the second factor does not fit
├── TwoFactorRequired, TwoFactorSetUp, TwoFactorMissing
├── ProviderNotFound         the organisation has no identity provider
├── IssuerNotUsable          what an owner names is no identity provider that can be used
├── LoginNotKnown            what came back from a provider belongs to no login that is under way
├── ProviderRefused          a provider says no, or says it wrongly
├── NoAccountHere            the provider knows somebody who is no active user here
├── MailNotTaken             the mailer refuses a mail for now
├── ScopeNotHeld             an API key may do no more than its creator
├── ApiKeyOver               a key that has expired, or was replaced before, cannot be replaced
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
    """Too many attempts within a short time."""

    code = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"Too many attempts. Try again in {retry_after_seconds} seconds.")
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


class InvitationNotFound(NotFound):
    """There is no such open invitation."""

    code = "invitation_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such open invitation.")


class LinkNotValid(AuthError):
    """The link of a mail is of no use any more."""

    code = "link_not_valid"

    def __init__(self) -> None:
        super().__init__("The link is not valid, or not any more. Ask for a new one.")


class InvitationExists(AuthError):
    """The address has an open invitation."""

    code = "invitation_exists"

    def __init__(self) -> None:
        super().__init__("An invitation to this address is open. Send it again, or revoke it.")


class MailNotTaken(AuthError):
    """The mailer does not take a mail: as a rule there is no relay to send it by."""

    code = "mail_not_taken"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class ChallengeNotValid(AuthError):
    """The first step of a login was too long ago, or had too many second ones."""

    code = "challenge_not_valid"

    def __init__(self) -> None:
        super().__init__("Sign in again from the start.")


class InvalidCode(AuthError):
    """The code is wrong, too old, or was used before."""

    code = "invalid_code"

    def __init__(self) -> None:
        super().__init__("The code is not valid. Each code works once.")


class TwoFactorRequired(AuthError):
    """The organisation lets nobody go without a second factor."""

    code = "two_factor_required"

    def __init__(self) -> None:
        super().__init__("Your organisation requires a second factor.")


class TwoFactorSetUp(AuthError):
    """The user has a second factor already."""

    code = "two_factor_set_up"

    def __init__(self) -> None:
        super().__init__("A second factor is set up. Remove it first.")


class TwoFactorMissing(AuthError):
    """Somebody wants others to have what they have not themselves."""

    code = "two_factor_missing"

    def __init__(self) -> None:
        super().__init__("Set up a second factor for yourself first.")


class ApiKeyOver(AuthError):
    """The key has expired or was replaced before."""

    code = "api_key_over"

    def __init__(self) -> None:
        super().__init__("The key has expired, or was replaced already.")


class ProviderNotFound(NotFound):
    """The organisation has no identity provider."""

    code = "identity_provider_not_found"

    def __init__(self) -> None:
        super().__init__("The organisation has no identity provider.")


class IssuerNotUsable(AuthError):
    """There is no identity provider that can be used at the issuer's address."""

    code = "issuer_not_usable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The identity provider cannot be used: {reason}.")


class LoginNotKnown(AuthError):
    """What came back from a provider belongs to no login that is under way in this browser."""

    code = "login_not_known"

    def __init__(self) -> None:
        super().__init__("This login is not known, or not any more. Start again.")


class ProviderRefused(AuthError):
    """The identity provider said no, or what it said does not hold."""

    code = "identity_provider_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The identity provider did not let you in: {reason}.")


class NoAccountHere(AuthError):
    """The provider knows somebody who is no active user of the organisation."""

    code = "no_account_here"

    def __init__(self) -> None:
        super().__init__("You have no account in this organisation. Ask to be invited.")
