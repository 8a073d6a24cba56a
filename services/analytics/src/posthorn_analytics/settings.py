"""Settings of the analytics service."""

from __future__ import annotations

from pydantic import AnyHttpUrl, Field
from pydantic_settings import SettingsConfigDict

from posthorn_common.settings import DatabaseSettings, SigningSecret


class Settings(DatabaseSettings):
    """Read from `POSTHORN_ANALYTICS_*`."""

    model_config = SettingsConfigDict(env_prefix="POSTHORN_ANALYTICS_", frozen=True, extra="ignore")

    campaigns_url: AnyHttpUrl = Field(description="Base URL of the campaigns service.")
    link_secret: SigningSecret = Field(description="Verifies the links in mail; the same in campaigns and mailer.")
    engagement_retention_days: int = Field(
        default=400, ge=1, le=3650, description="Single opens and clicks are deleted after this time; counts stay."
    )
    machine_window_seconds: float = Field(
        default=0,
        ge=0,
        le=60,
        description="Opens and clicks so soon after the delivery was recorded count as a machine's; 0: never.",
    )
    max_progress_streams: int = Field(
        default=1000, ge=1, le=100_000, description="Event streams of progress that one process serves at a time."
    )
    progress_grace_seconds: float = Field(
        default=15,
        gt=0,
        le=600,
        description="An event stream ends this long after the campaign did, though outcomes may still be missing.",
    )
    spilled_hits_limit: int = Field(
        default=1_000_000, ge=1000, description="Opens and clicks kept in Redis while PostgreSQL is away."
    )
