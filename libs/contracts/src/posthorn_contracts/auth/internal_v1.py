"""Internal HTTP answers of the auth service, version 1."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
