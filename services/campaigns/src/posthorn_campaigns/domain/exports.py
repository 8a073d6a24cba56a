"""Files of contacts on their way out of the audience."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.audience import Contact
from posthorn_campaigns.domain.csv_writing import csv_lines
from posthorn_campaigns.domain.imports import FileKind

_FIELDS = ("email", "first_name", "last_name", "locale", "time_zone", "status", "created_at")
_OTHER_ATTRIBUTES = "other_attributes"


class ExportStatus(StrEnum):
    """Where an export stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Export:
    """A file of contacts: of a list, of a segment, of both, or of all.

    `columns` are the attributes that have columns of their own in a CSV file, `after` the contact that was written
    last, `pieces` how many pieces are stored, `lease_epoch` the fencing number of the worker that has it.
    """

    id: UUID
    organisation_id: UUID
    kind: FileKind
    list_id: UUID | None
    segment_id: UUID | None
    columns: tuple[str, ...]
    status: ExportStatus
    created_at: datetime
    expires_at: datetime
    after: UUID | None = None
    contacts: int = 0
    bytes_total: int = 0
    pieces: int = 0
    failure_code: str | None = None
    finished_at: datetime | None = None
    lease_epoch: int = 0


def begin_of(export: Export) -> bytes:
    """Return how the file begins."""
    if export.kind is FileKind.NDJSON:
        return b""
    return csv_lines([(*_FIELDS, *export.columns, _OTHER_ATTRIBUTES)]).encode()


def lines_of(export: Export, contacts: Iterable[Contact]) -> bytes:
    """Return contacts as lines of the file; either kind can be imported, `status` and `created_at` left out."""
    if export.kind is FileKind.NDJSON:
        return "".join(f"{json.dumps(_document(contact), ensure_ascii=False)}\n" for contact in contacts).encode()
    return csv_lines(_row(contact, export.columns) for contact in contacts).encode()


def _document(contact: Contact) -> dict[str, Any]:
    return {**{name: _field(contact, name) for name in _FIELDS}, "attributes": contact.attributes}


def _row(contact: Contact, columns: Sequence[str]) -> list[str]:
    other = {name: value for name, value in contact.attributes.items() if name not in columns}
    return [
        *(_field(contact, name) or "" for name in _FIELDS),
        *(_cell(contact.attributes.get(name)) for name in columns),
        json.dumps(other, ensure_ascii=False) if other else "",
    ]


def _field(contact: Contact, name: str) -> str | None:
    value = getattr(contact, name)
    return value.isoformat() if isinstance(value, datetime) else value


def _cell(value: Any) -> str:
    """Return a value as the importer reads it; see domain.attributes.value_of_text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case [*items] if all(isinstance(item, str) for item in items):
            return ";".join(items)
        case _:
            return json.dumps(value, ensure_ascii=False)
