"""Settings of the mailer service."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AnyHttpUrl, Field
from pydantic_settings import SettingsConfigDict

from posthorn_common.settings import DatabaseSettings, EncryptionKey, SigningSecret


class Settings(DatabaseSettings):
    """Read from `POSTHORN_MAILER_*`."""

    model_config = SettingsConfigDict(env_prefix="POSTHORN_MAILER_", frozen=True, extra="ignore")

    encryption_key: EncryptionKey = Field(
        description="Encrypts the relays' passwords and the private keys of DKIM in the database."
    )
    link_secret: SigningSecret = Field(description="Signs the recipient in every link; the same in all services.")
    campaigns_url: AnyHttpUrl = Field(description="Where the campaigns service answers internal calls.")
    batches_per_worker: int = Field(default=4, ge=1, le=64, description="Batches that one process sends at a time.")
    batch_size: int = Field(default=500, ge=1, le=5000, description="Recipients of one batch.")
    audience_page_size: int = Field(default=5000, ge=1, le=5000, description="Contacts pulled at a time in planning.")
    lease_seconds: float = Field(
        default=30.0, ge=1, le=600, description="A batch whose worker is silent for so long is taken over."
    )
    poll_seconds: float = Field(default=2.0, gt=0, le=60, description="Pause between looks for work in the database.")
    reconcile_seconds: float = Field(default=5.0, gt=0, le=300, description="Pause between runs of the reconciler.")
    report_seconds: float = Field(default=1.0, gt=0, le=60, description="Pause between reports of outcomes.")
    retry_base_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="Upper bound of the first pause before a deferred delivery is retried."
    )
    retry_cap_seconds: float = Field(default=4 * 3600.0, gt=0, le=86_400, description="Upper bound of every pause.")
    retry_horizon_seconds: float = Field(
        default=24 * 3600.0, gt=0, le=5 * 86_400, description="A delivery is given up so long after its first attempt."
    )
    outage_first_pause_seconds: float = Field(
        default=1.0, gt=0, le=60, description="Pause after the first failure of a relay that is away; it doubles."
    )
    outage_longest_pause_seconds: float = Field(default=60.0, gt=0, le=3600, description="Longest such pause.")
    on_ambiguous: Literal["hold", "resend"] = Field(
        default="hold",
        description="What becomes of deliveries in doubt, where the campaign does not say it: `hold` leaves them to "
        "people, `resend` sends them again.",
    )
    resend_after_seconds: float = Field(
        default=900.0, ge=1, description="With `resend`: how long after the attempt that is in doubt."
    )
    close_after_days: float = Field(
        default=31,
        ge=8,
        description="A campaign that has been final for so long is closed: merge fields are dropped, nothing is sent "
        "again. Longer than campaigns' RETRY_FAILED_DAYS.",
    )
    keep_deliveries_days: float | None = Field(
        default=None,
        ge=31,
        description="Deliveries of closed campaigns are dropped so long after the month in which they became final; "
        "the campaigns' counts stay. Default: never.",
    )
    retain_seconds: float = Field(default=60.0, gt=0, le=3600, description="Pause between runs of retention.")
    guard_hard_bounce_rate: float = Field(
        default=0.10, gt=0, le=1, description="A campaign pauses by itself when a larger share has bounced (1: never)."
    )
    guard_hard_bounces_after: int = Field(
        default=200, ge=1, description="Of how many finished deliveries on that share is looked at."
    )
    guard_complaint_rate: float = Field(
        default=0.003, gt=0, le=1, description="As above, of recipients who complain (1: never)."
    )
    guard_complaints_after: int = Field(
        default=500, ge=1, description="Of how many finished deliveries on that share is looked at."
    )
    allow_private_relays: bool | None = Field(
        default=None,
        description="Whether relays may be in private networks or on this machine. Default: in development only.",
    )
    relay_ca_file: Path | None = Field(
        default=None, description="PEM file of certificate authorities to trust for relays, besides the system's."
    )
    dns_server: str | None = Field(
        default=None,
        pattern=r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
        description="DNS server that is asked for the records of sending domains: an IP address, IPv6 in brackets, "
        "with or without a port. Default: the servers of the system.",
    )
    ehlo_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9.:\[\]-]{1,255}$",
        description="How the mailer introduces itself to relays. Default: the host of `PUBLIC_URL`.",
    )

    @property
    def private_relays_allowed(self) -> bool:
        """`allow_private_relays`, or whether this is development."""
        return self.environment == "development" if self.allow_private_relays is None else self.allow_private_relays
