"""Internal HTTP answers of the auth service, version 1."""

from __future__ import annotations

from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class ApiKeyExchangeRequest(BaseModel):
    """Body of `POST /internal/api-keys/exchange`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    api_key: str = Field(min_length=1, max_length=200)


class ApiKeyExchangeAnswer(BaseModel):
    """An access token that stands for the API key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    access_token: str
    expires_in: int = Field(gt=0, description="Seconds until the token expires.")
    api_key_id: str


class Revocation(BaseModel):
    """A session or API key that is over before its time."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: UUID
    revoked_at: AwareDatetime


class RecentRevocations(BaseModel):
    """Answer of `GET /internal/revocations?seconds=`: what was revoked within so many seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    revoked: list[Revocation]


class CorsOrigins(BaseModel):
    """The web pages that may call the API for an organisation's users."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    organisation_id: UUID
    origins: list[str]


class AllCorsOrigins(BaseModel):
    """Answer of `GET /internal/cors-origins`: every organisation that allows any."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    organisations: list[CorsOrigins]
