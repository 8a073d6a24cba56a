"""Answers about imports."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

from posthorn_campaigns.domain.csv_header import Glimpse
from posthorn_campaigns.domain.imports import FileKind, Import, ImportMode, ImportStatus
from posthorn_campaigns.entrypoints.http.schemas_audience import Answer


class ImportAnswer(Answer):
    id: UUID
    status: ImportStatus
    list_id: UUID | None
    mode: ImportMode
    lift_reason: str | None = Field(
        description="Why it may bring back who has unsubscribed or bounced; null: it may not."
    )
    kind: FileKind
    encoding: str
    delimiter: str = Field(description="Empty for NDJSON.")
    columns: list[str] = Field(description="What the columns of a CSV file become; those left out are not listed.")
    mapping: dict[str, str | None]
    bytes_total: int = Field(description="Size of the file as it is stored: UTF-16 and UTF-32 are stored as UTF-8.")
    bytes_read: int = Field(description="How far the import has come.")
    rows_read: int = Field(description="created + updated + unchanged + rejected")
    created: int
    updated: int
    unchanged: int = Field(description="Rows that said nothing new, or an address again within the same few rows.")
    rejected: int = Field(description="Rows that were not imported; `/errors` tells why.")
    lifted: int = Field(description="Contacts who had unsubscribed or bounced and are active again; see `lift_reason`.")
    error_code: str | None = Field(description="Why the import as a whole failed, for programs.")
    error: str | None = Field(description="Why the import as a whole failed.")
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None

    @classmethod
    def of(cls, job: Import) -> Self:
        """Return the answer for an import."""
        return cls(
            id=job.id,
            status=job.status,
            list_id=job.list_id,
            mode=job.mode,
            lift_reason=job.lift_reason,
            kind=job.format.kind,
            mapping=dict(job.format.mapping),
            encoding=job.format.encoding,
            delimiter=job.format.delimiter,
            columns=[name for name in job.format.columns if name],
            bytes_total=job.bytes_total,
            bytes_read=job.bytes_read,
            rows_read=job.rows_read,
            created=job.created,
            updated=job.updated,
            unchanged=job.unchanged,
            rejected=job.rejected,
            lifted=job.lifted,
            error_code=job.failure.code if job.failure else None,
            error=job.failure.message if job.failure else None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


class RejectedRowAnswer(Answer):
    row: int = Field(description="Counted from 1, without the header and empty lines.")
    column: str = Field(description="The column that is wrong; empty if it is the row as a whole.")
    code: str = Field(examples=["invalid_email"])
    message: str


class PreviewedColumn(BaseModel):
    name: str = Field(description="As the file has it.", examples=["Vorname"])
    suggested: str | None = Field(description="What it might become; null: leave it out.", examples=["first_name"])
    samples: list[str] = Field(description="What the first rows have in it.", examples=[["Ada", "Grace"]])


class ImportPreview(BaseModel):
    encoding: str
    delimiter: str
    columns: list[PreviewedColumn]
    mapping: dict[str, str | None] = Field(
        description="The suggestions in the form that `mapping` of `POST /v1/imports` takes.",
        examples=[{"E-Mail": "email", "Vorname": "first_name", "Notiz": None}],
    )

    @classmethod
    def of(cls, encoding: str, glimpse: Glimpse) -> Self:
        """Return the answer for a file that was looked at."""
        columns = [
            PreviewedColumn(
                name=name,
                suggested=suggested,
                samples=[row[index][:200] for row in glimpse.samples if index < len(row)],
            )
            for index, (name, suggested) in enumerate(zip(glimpse.names, glimpse.suggested, strict=True))
        ]
        mapping = {column.name: column.suggested for column in columns if column.name}
        return cls(encoding=encoding, delimiter=glimpse.delimiter, columns=columns, mapping=mapping)
