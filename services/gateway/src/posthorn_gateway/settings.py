"""Settings of the gateway."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import AfterValidator, AnyHttpUrl, Field
from pydantic_settings import SettingsConfigDict

from posthorn_common.origins import checked_origin
from posthorn_common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from `POSTHORN_GATEWAY_*`."""

    model_config = SettingsConfigDict(env_prefix="POSTHORN_GATEWAY_", frozen=True, extra="ignore")

    auth_url: AnyHttpUrl = Field(description="Base URL of auth.")
    campaigns_url: AnyHttpUrl = Field(description="Base URL of campaigns.")
    mailer_url: AnyHttpUrl = Field(description="Base URL of mailer.")
    analytics_url: AnyHttpUrl = Field(description="Base URL of analytics.")
    connect_timeout_seconds: float = Field(default=2.0, gt=0, le=60, description="Time to reach a service.")
    read_timeout_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="Longest silence of a service, or of a client that sends a body."
    )
    body_timeout_seconds: float = Field(
        default=900.0, gt=0, le=86_400, description="Longest time in which a request's whole body has to arrive."
    )
    trusted_proxies: list[IPv4Network | IPv6Network] = Field(
        default=[], description="Networks of proxies that are believed, as a JSON list."
    )
    proxy_header: Literal["x-forwarded", "forwarded"] = Field(
        default="x-forwarded",
        description="What those proxies write: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239).",
    )
    allowed_hosts: list[str] = Field(default=[], description="Host names served, as a JSON list; empty for any.")
    cors_origins: list[Annotated[str, AfterValidator(checked_origin)]] = Field(
        default=[],
        description="Origins whose pages may call the API for every organisation, as a JSON list. Organisations allow "
        "more for themselves.",
    )
    cors_origins_ask_seconds: float = Field(
        default=20.0, ge=0.1, le=600, description="How often auth is asked for those, should events not come."
    )
    sign_in_per_minute: int = Field(
        default=600, ge=0, description="Sign-in requests a minute and client address; 0 for no limit."
    )
    address_per_minute: int = Field(
        default=60_000,
        ge=0,
        description="Requests with a token or API key a minute and client address; 0 for no limit.",
    )
    organisation_per_minute: int = Field(
        default=30_000, ge=0, description="Requests a minute and organisation, however they sign in; 0 for no limit."
    )
    api_key_per_minute: int = Field(
        default=30_000, ge=0, description="Requests a minute and API key, within its organisation's; 0 for no limit."
    )
    recipient_per_minute: int = Field(
        default=0, ge=0, description="Opens, clicks, unsubscribes a minute and client address; 0 for no limit."
    )
    api_key_cache_seconds: float = Field(
        default=30.0, ge=0, le=60, description="How long an exchanged API key is used before auth is asked again."
    )
    idempotency_lease_seconds: float = Field(
        default=15.0,
        ge=0.1,
        le=600,
        description="Silence after which a gateway that holds an idempotency key is taken for dead.",
    )
    revocation_poll_seconds: float = Field(
        default=3.0, ge=0.1, le=60, description="How often revoked sessions and API keys are read from Redis."
    )
    revocation_stale_seconds: float = Field(
        default=60.0,
        ge=0.1,
        le=600,
        description="After so long without an answer of auth nobody changes users, keys, relays, domains or limits.",
    )
    revocation_ask_seconds: float = Field(
        default=20.0, ge=0.1, le=60, description="How often auth itself is asked for them, should events not come."
    )
