"""Settings of the auth service."""

from __future__ import annotations

from uuid import UUID

from pydantic import AnyHttpUrl, Field
from pydantic_settings import SettingsConfigDict

from posthorn_common.settings import DatabaseSettings, EncryptionKey


class Settings(DatabaseSettings):
    """Read from `POSTHORN_AUTH_*`."""

    model_config = SettingsConfigDict(env_prefix="POSTHORN_AUTH_", frozen=True, extra="ignore")

    encryption_key: EncryptionKey = Field(
        description="Encrypts private signing keys, secrets of second factors and of identity providers. Links in "
        "mail and recovery codes are made with it."
    )
    mailer_url: AnyHttpUrl = Field(description="Base URL of the mailer service.")
    mail_organisation_id: UUID | None = Field(
        default=None,
        description="The organisation through whose default relay all mail about accounts is sent: the operator's own. "
        "Default: everybody's own organisation, whose admins can then read it.",
    )
    mails_to_strangers_per_day: int = Field(
        default=100, ge=1, le=100_000, description="Invitations and links to new addresses that an organisation sends."
    )
    mail_from_name: str = Field(
        default="Posthorn", max_length=100, description="Sender's name in such mail; apps for second factors show it."
    )
    allow_private_providers: bool | None = Field(
        default=None,
        description="Whether identity providers may be in private networks, without TLS. Default: in development only.",
    )
    signing_key_days: int = Field(default=30, ge=1, le=365, description="A new signing key is made after so long.")
    access_token_seconds: int = Field(default=600, ge=60, le=600, description="Lifetime of an access token.")
    refresh_token_days: int = Field(default=30, ge=1, le=90, description="A session ends this long after the login.")
    login_attempts: int = Field(default=10, ge=3, le=1000, description="Failed logins allowed per window and account.")
    login_attempts_per_address: int = Field(
        default=100, ge=3, le=100_000, description="Failed logins allowed per window and client address."
    )
    login_window_seconds: int = Field(default=900, ge=10, le=86_400, description="Length of that window.")
    password_hash_threads: int = Field(default=2, ge=1, le=64, description="Passwords hashed at the same time.")

    @property
    def private_providers_allowed(self) -> bool:
        """`allow_private_providers`, or whether this is development."""
        return (
            self.environment == "development" if self.allow_private_providers is None else self.allow_private_providers
        )
