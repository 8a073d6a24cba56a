"""Settings from the environment: `POSTHORN_<SERVICE>_<NAME>`, read once, by bootstrap only."""

from __future__ import annotations

import base64
import binascii
import sys
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


def _at_least_32_bytes(value: SecretStr) -> SecretStr:
    if len(_decode(value)) < 32:
        raise ValueError("needs at least 32 bytes, as base64url")
    return value


def _exactly_32_bytes(value: SecretStr) -> SecretStr:
    if len(_decode(value)) != 32:
        raise ValueError("needs exactly 32 bytes, as base64url")
    return value


def _decode(value: SecretStr) -> bytes:
    text = value.get_secret_value()
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64url") from error


SigningSecret = Annotated[SecretStr, AfterValidator(_at_least_32_bytes)]
"""A secret for HMAC: at least 32 bytes, base64url."""

EncryptionKey = Annotated[SecretStr, AfterValidator(_exactly_32_bytes)]
"""A key for AES-256: 32 bytes, base64url."""


def secret_bytes(value: SecretStr) -> bytes:
    """Return the bytes behind a SigningSecret or EncryptionKey."""
    return _decode(value)


class ServiceSettings(BaseSettings):
    """What every service needs. A service subclasses it and sets its own `env_prefix`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    environment: Literal["development", "production"] = "production"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    host: str = Field(default="127.0.0.1", description="Address the HTTP server listens on.")
    port: int = Field(ge=0, le=65535, description="Port the HTTP server listens on.")
    amqp_url: SecretStr = Field(description="RabbitMQ, amqp://user:password@host:port/vhost.")
    redis_url: SecretStr = Field(description="Redis or Valkey, redis://:password@host:port/db.")
    internal_secret: SigningSecret = Field(description="Signs the tokens that services show one another.")
    token_issuer: str = Field(description="`iss` of access tokens: the public URL of the installation.")
    jwks_url: AnyHttpUrl = Field(description="Where auth publishes the keys that verify access tokens.")
    public_url: AnyHttpUrl = Field(description="Base URL of the gateway as recipients and clients see it.")
    shutdown_grace_seconds: float = Field(default=25.0, gt=0, description="Time to finish work after SIGTERM.")

    @property
    def public_base(self) -> str:
        """`public_url` without a slash at its end."""
        return str(self.public_url).rstrip("/")


class DatabaseSettings(ServiceSettings):
    """Settings of a service that owns a PostgreSQL schema."""

    database_url: SecretStr = Field(description="postgresql+asyncpg://role:password@host:port/database.")
    database_pool_size: int = Field(default=10, ge=1, le=200, description="Connections kept by one process.")


AnySettings = TypeVar("AnySettings", bound=ServiceSettings)


def load_settings(settings: type[AnySettings]) -> AnySettings:
    """Read settings from the environment; on errors list all of them by variable name and exit with status 2."""
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        sys.stderr.write("The configuration is not complete:\n")
        for item in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in item["loc"]).upper()
            sys.stderr.write(f"  {prefix}{name}: {item['msg']}\n")
        raise SystemExit(2) from None
