"""Bodies of requests and answers."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AnyHttpUrl, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from posthorn_auth.domain.passwords import MAX_CHARACTERS, MIN_CHARACTERS, normalised
from posthorn_auth.domain.users import UserStatus
from posthorn_common.http.fields import EmailAddress, Instant, RequestModel, SingleLine
from posthorn_common.origins import InvalidOrigin, checked_origin
from posthorn_contracts.permissions import Permission, Role

# Longer than any allowed password: the rule itself answers with `weak_password`.
Password = Annotated[str, Field(max_length=1024, examples=["a long and private sentence"]), AfterValidator(normalised)]


class Answer(BaseModel):
    """Read from domain objects."""

    model_config = ConfigDict(from_attributes=True)


class RegisterRequest(RequestModel):
    organisation_name: SingleLine = Field(examples=["Lighthouse Books"])
    name: SingleLine = Field(examples=["Ada Lovelace"])
    email: EmailAddress
    password: Password = Field(description=f"{MIN_CHARACTERS} to {MAX_CHARACTERS} characters, not a common one.")


class LoginRequest(RequestModel):
    email: EmailAddress
    password: Password


class RefreshRequest(RequestModel):
    refresh_token: str = Field(min_length=1, max_length=200)


class PasswordRequest(RequestModel):
    current_password: Password
    new_password: Password


class OrganisationAnswer(Answer):
    id: UUID
    name: str
    two_factor_required: bool
    created_at: AwareDatetime


class OrganisationRequest(RequestModel):
    name: SingleLine | None = None
    two_factor_required: bool | None = Field(
        default=None,
        description="With true, whoever has no second factor is signed out and sets one up at the next login. People "
        "only, who have one themselves; API keys and sign-in through an identity provider are not concerned.",
    )


class UserAnswer(Answer):
    id: UUID
    email: str
    name: str
    role: Role
    status: UserStatus
    email_verified: bool = Field(description="Whether the user has proved to read mail at the address.")
    two_factor: bool = Field(description="Whether signing in takes a code as well.")
    created_at: AwareDatetime
    updated_at: AwareDatetime


class NewUserRequest(RequestModel):
    name: SingleLine
    email: EmailAddress
    password: Password = Field(description="A first password; the user should change it.")
    role: Role


class UserChangeRequest(RequestModel):
    name: SingleLine | None = None
    role: Role | None = None
    status: UserStatus | None = None
    keep_api_keys: bool = Field(
        default=False,
        description="Keys that the user has created and that may do more than the user from now on are void, unless "
        "this is true.",
    )


class InvitationRequest(RequestModel):
    email: EmailAddress
    role: Role


class InvitationAnswer(Answer):
    id: UUID
    email: str
    role: Role
    invited_by: UUID
    created_at: AwareDatetime
    expires_at: AwareDatetime = Field(description="After that it has to be sent again.")


MailToken = Annotated[
    str,
    Field(min_length=1, max_length=200, description="What stands behind the `#` of the link in the message."),
]


class AcceptInvitationRequest(RequestModel):
    token: MailToken
    name: SingleLine = Field(examples=["Grace Hopper"])
    password: Password = Field(description=f"{MIN_CHARACTERS} to {MAX_CHARACTERS} characters, not a common one.")


class ConfirmEmailRequest(RequestModel):
    token: MailToken


class ChangeEmailRequest(RequestModel):
    new_email: EmailAddress
    current_password: Password


class AskResetRequest(RequestModel):
    email: EmailAddress


class ResetPasswordRequest(RequestModel):
    token: MailToken
    new_password: Password


class TransferRequest(RequestModel):
    user_id: UUID = Field(description="Who becomes an owner; you become an admin.")
    current_password: Password


class TokenAnswer(BaseModel):
    access_token: str = Field(description="Send it as `Authorization: Bearer …`.")
    refresh_token: str = Field(description="Works once: each refresh returns the next one.")
    token_type: str = "Bearer"
    expires_in: int = Field(description="Seconds until the access token expires.")


class SignedInAnswer(TokenAnswer):
    user: UserAnswer


class EnrolmentAnswer(Answer):
    secret: str = Field(description="Base32, to type into an authenticator app.")
    uri: str = Field(description="The same as an `otpauth:` URI, to show as a QR code.")


class ChallengeAnswer(BaseModel):
    challenge: str = Field(description="Give it back to `POST /v1/auth/login/second-factor`, with a code.")
    expires_in: int = Field(description="Seconds until it is void.")
    enrolment: EnrolmentAnswer | None = Field(
        description="Not null: the organisation requires a second factor, and this sets it up with the first code."
    )


Code = Annotated[
    str,
    Field(min_length=6, max_length=20, examples=["123456"], description="Of the app, or one of the recovery codes."),
]


class SecondStepRequest(RequestModel):
    challenge: str = Field(min_length=1, max_length=200)
    code: Code


class SecondStepAnswer(SignedInAnswer):
    recovery_codes: list[str] | None = Field(
        description="Shown this once, when a second factor was set up with this login: each works once."
    )


class FactorStatusAnswer(Answer):
    enabled: bool
    required: bool = Field(description="Whether the organisation requires a second factor.")
    recovery_codes_left: int


class CurrentPasswordRequest(RequestModel):
    current_password: Password


class CodeRequest(RequestModel):
    code: Code


class FactorProofRequest(RequestModel):
    current_password: Password
    code: Code


class RecoveryCodesAnswer(BaseModel):
    recovery_codes: list[str] = Field(description="Shown this once. Each signs in once, in place of the app.")


class IdentityProviderAnswer(Answer):
    issuer: str
    client_id: str
    redirect_uri: str
    auto_role: Role | None


def _url(text: AnyHttpUrl) -> str:
    if text.fragment or text.username or text.password:
        raise PydanticCustomError("unfit_url", "must have neither credentials nor a fragment")
    return str(text)


class IdentityProviderRequest(RequestModel):
    issuer: str = Field(
        max_length=500,
        pattern=r"^https?://[^\s?#@]+$",
        description="Exactly as the provider's discovery document names it.",
        examples=["https://login.example.com"],
    )
    client_id: SingleLine = Field(examples=["posthorn"])
    client_secret: str | None = Field(
        default=None, min_length=1, max_length=500, description="Is never shown again. Null for a public client."
    )
    redirect_uri: Annotated[AnyHttpUrl, AfterValidator(_url)] = Field(
        description="The page of your application to which the provider returns with `code` and `state`.",
        examples=["https://app.example.com/signed-in"],
    )
    auto_role: Literal[Role.EDITOR, Role.VIEWER] | None = Field(
        default=None,
        description="Whoever the provider vouches for and nobody knows yet becomes a user with this role. Null: only "
        "who is a user already may sign in.",
    )


MAX_ORIGINS = 20


def _origin(text: str) -> str:
    try:
        return checked_origin(text)
    except InvalidOrigin as error:
        raise PydanticCustomError("invalid_origin", "{reason}", {"reason": str(error)}) from error


class CorsOriginsRequest(RequestModel):
    origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        max_length=MAX_ORIGINS,
        description="Scheme, host and port of each: no path, no `*`, not `null`, and `http` for localhost only. An "
        "empty list allows none.",
        examples=[["https://app.example.com", "http://localhost:5173"]],
    )


class CorsOriginsAnswer(BaseModel):
    origins: list[str] = Field(
        description="As browsers send them, sorted.", examples=[["http://localhost:5173", "https://app.example.com"]]
    )


class StartLoginRequest(RequestModel):
    organisation_id: UUID


class StartLoginAnswer(BaseModel):
    authorization_url: str = Field(description="Send the browser there.")
    login_token: str = Field(description="Keep it in this browser (session storage) for `complete`.")
    expires_in: int = Field(description="Seconds until the login is void.")


class CompleteLoginRequest(RequestModel):
    state: str = Field(min_length=1, max_length=200, description="As the provider returned it.")
    code: str = Field(min_length=1, max_length=2000, description="As the provider returned it.")
    login_token: str = Field(min_length=1, max_length=200)
    iss: str | None = Field(default=None, max_length=500, description="As the provider returned it (RFC 9207).")


class RegisteredAnswer(SignedInAnswer):
    organisation: OrganisationAnswer


class MeAnswer(BaseModel):
    organisation: OrganisationAnswer
    user: UserAnswer | None = Field(description="null for an API key.")
    permissions: list[str]


class ApiKeyRequest(RequestModel):
    name: SingleLine = Field(examples=["Reporting"])
    scopes: list[Permission] = Field(min_length=1, max_length=len(Permission), examples=[["statistics:read"]])
    expires_at: Instant | None = None


class ApiKeyAnswer(Answer):
    id: UUID
    name: str
    prefix: str = Field(description="The beginning of the key, to recognise it by.")
    scopes: list[str]
    created_by: UUID
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    last_used_at: AwareDatetime | None
    replaced_by: UUID | None = Field(description="The key that was made in its place.")


class RotationRequest(RequestModel):
    overlap_seconds: int = Field(
        default=86_400,
        ge=0,
        le=30 * 86_400,
        description="How long the old key works yet; with 0 it is void at once. Anything else is at least ten minutes.",
    )


class NewApiKeyAnswer(ApiKeyAnswer):
    api_key: str = Field(description="The key itself, shown this once.")


class SessionAnswer(Answer):
    id: UUID
    created_at: AwareDatetime
    last_used_at: AwareDatetime
    expires_at: AwareDatetime
    user_agent: str
    is_current: bool = False
