"""Bodies of requests and answers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_auth.domain.passwords import MAX_CHARACTERS, MIN_CHARACTERS, normalised
from posthorn_auth.domain.users import UserStatus
from posthorn_common.http.fields import EmailAddress, Instant, RequestModel, SingleLine
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
    created_at: AwareDatetime


class OrganisationRequest(RequestModel):
    name: SingleLine


class UserAnswer(Answer):
    id: UUID
    email: str
    name: str
    role: Role
    status: UserStatus
    email_verified: bool = Field(description="Whether the user has proved to read mail at the address.")
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


class NewApiKeyAnswer(ApiKeyAnswer):
    api_key: str = Field(description="The key itself, shown this once.")


class SessionAnswer(Answer):
    id: UUID
    created_at: AwareDatetime
    last_used_at: AwareDatetime
    expires_at: AwareDatetime
    user_agent: str
    is_current: bool = False
