"""Settings of the campaigns service."""

from __future__ import annotations

from pydantic import AnyHttpUrl, Field
from pydantic_settings import SettingsConfigDict

from posthorn_common.settings import DatabaseSettings, SigningSecret


class Settings(DatabaseSettings):
    """Read from `POSTHORN_CAMPAIGNS_*`."""

    model_config = SettingsConfigDict(env_prefix="POSTHORN_CAMPAIGNS_", frozen=True, extra="ignore")

    mailer_url: AnyHttpUrl = Field(description="Base URL of the mailer service.")
    analytics_url: AnyHttpUrl = Field(description="Base URL of the analytics service.")
    link_secret: SigningSecret = Field(description="Signs the links in mail; the same in mailer and analytics.")
    overdue_hours: float = Field(
        default=24,
        gt=0,
        description="A campaign that could not be started for so long fails instead of being sent late.",
    )
    retry_failed_days: float = Field(
        default=30,
        gt=0,
        description="So long after a campaign's completion its failed deliveries can be tried again. Shorter than the "
        "mailer's CLOSE_AFTER_DAYS.",
    )
    timeline_days: int = Field(
        default=400, ge=1, description="So long what has happened with messages is kept in the timelines of contacts."
    )
    subscribe_per_address: int = Field(
        default=30, ge=1, description="Public subscribe forms an hour from one address on the network."
    )
    subscribe_per_list: int = Field(default=3000, ge=1, description="Public subscribe forms an hour for one list.")
    template_processes: int = Field(
        default=2, ge=1, le=64, description="Processes that work on users' templates, apart from the service's own."
    )
    import_max_bytes: int = Field(default=200 * 1024 * 1024, gt=0, description="Largest file that is accepted.")
    import_max_unpacked_bytes: int = Field(
        default=1024 * 1024 * 1024, gt=0, description="Largest file that a file packed by gzip may hold."
    )
    import_chunk_rows: int = Field(default=5000, ge=1, le=20_000, description="Rows of an import per transaction.")
    import_lease_seconds: int = Field(
        default=60, ge=5, le=3600, description="An import whose worker has died is taken over after this time."
    )
    import_retention_days: int = Field(
        default=90, ge=1, description="Imports are forgotten, with their rejected rows, so long after their end."
    )
    export_retention_hours: float = Field(
        default=24, gt=0, description="Exports are deleted, with their files, so long after they were asked for."
    )
    erasure_ask_again_minutes: float = Field(
        default=10, gt=0, description="Services that have not confirmed an erasure are asked again after this time."
    )
    access_archive_days: float = Field(
        default=7,
        gt=0,
        description="Archives of what is known of a contact are deleted so long after they are made.",
    )
    import_max_streams: int = Field(
        default=200, ge=1, description="Streams of imports' progress open at a time in one process."
    )
    import_concurrency: int = Field(default=2, ge=1, le=50, description="Imports at a time in one worker.")
