"""Files on their way into the audience."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from posthorn_campaigns.domain.audience import MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES

PIECE_BYTES = 256 * 1024
"""Files are stored in pieces of this size; only the last one is shorter."""

MAX_FRUITLESS_LEASES = 5
"""After so many workers in a row that got nothing done, an import fails."""

MAX_STORED_ERRORS = 10_000
"""Rejected rows of one import that are kept for its error report; all are counted."""


TOO_MANY_ATTRIBUTES = (
    "too_many_attributes",
    f"would leave the contact with more than {MAX_ATTRIBUTES} attributes or {MAX_ATTRIBUTES_BYTES // 1024} KiB of them",
)


REQUIRED = ("attribute_required", "is required for a new contact")
UNKNOWN_CONTACT = ("unknown_contact", "is no contact yet; the import only updates")


class ImportStatus(StrEnum):
    """Where an import stands. One that is `uploading` is not shown: its file is still coming in."""

    UPLOADING = "uploading"
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset({ImportStatus.PENDING, ImportStatus.RUNNING})
"""What a worker may take up, and what can be cancelled."""


class ImportMode(StrEnum):
    """What happens to contacts that exist, and to those that do not."""

    UPSERT = "upsert"
    """Exist: changed. Do not: created."""
    CREATE_ONLY = "create_only"
    """Exist: left as they are. Do not: created."""
    UPDATE_ONLY = "update_only"
    """Exist: changed. Do not: rejected."""


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """Why an import as a whole failed."""

    code: str
    message: str


LIST_DELETED = ImportFailure("list_not_found", "The list was deleted while the import ran.")
WORKERS_DIED = ImportFailure("import_not_processable", "Workers gave up on the same rows again and again.")


class FileKind(StrEnum):
    """What a line of the file is."""

    CSV = "csv"
    NDJSON = "ndjson"


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How to read a file: the encoding by Python's name; of CSV the delimiter and what the columns become, in order.

    `mapping` says by its name in the file what a column or member becomes, None if it is left out.
    """

    kind: FileKind
    encoding: str
    delimiter: str = ""
    columns: tuple[str, ...] = ()
    mapping: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Import:
    """A file on its way into the audience.

    `bytes_read` is where the next row begins in the file, `lease_epoch` the fencing number of the worker that has it,
    `fruitless_leases` how many workers in a row got nothing done. `lift_reason` is why it may bring back those who
    have unsubscribed or bounced; None: it may not.
    """

    id: UUID
    organisation_id: UUID
    list_id: UUID | None
    mode: ImportMode
    status: ImportStatus
    format: FileFormat
    bytes_total: int
    bytes_read: int
    created_at: datetime
    lift_reason: str | None = None
    rows_read: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    lifted: int = 0
    failure: ImportFailure | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_epoch: int = 0
    fruitless_leases: int = 0

    def after(self, chunk: ChunkOfRows, taken: TakenIn) -> Import:
        """Return the import with a chunk taken in; what an address says again counts as unchanged."""
        return replace(
            self,
            bytes_read=chunk.end,
            rows_read=self.rows_read + chunk.rows_read,
            created=self.created + taken.created,
            updated=self.updated + taken.updated,
            unchanged=self.unchanged + taken.unchanged + chunk.repeated,
            rejected=self.rejected + len(chunk.rejected),
            lifted=self.lifted + len(taken.lifted),
        )


class ImportedContact(NamedTuple):
    """A good row of a file. `email` is normalised; empty names were not given. `row` counts as in RejectedRow.

    `missing` are the declared attributes that the row would need if the contact is new.
    """

    row: int
    email: str
    first_name: str
    last_name: str
    locale: str | None
    time_zone: str | None
    attributes: dict[str, Any]
    missing: tuple[str, ...] = ()

    def merged_with(self, later: ImportedContact) -> ImportedContact:
        """Return what two rows of the same address say together; the later one wins where both say something."""
        return ImportedContact(
            row=later.row,
            email=self.email,
            first_name=later.first_name or self.first_name,
            last_name=later.last_name or self.last_name,
            locale=later.locale or self.locale,
            time_zone=later.time_zone or self.time_zone,
            attributes={**self.attributes, **later.attributes},
            missing=tuple(key for key in later.missing if key in self.missing),
        )


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not imported. `row` counts from 1, without the header and empty lines."""

    row: int
    column: str
    code: str
    message: str


@dataclass(slots=True)
class ChunkOfRows:
    """What one transaction of an import takes in. `end` is where the row after it begins in the file."""

    mode: ImportMode
    end: int
    rows_read: int = 0
    repeated: int = 0
    contacts: dict[str, ImportedContact] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)

    def add(self, row: ImportedContact | RejectedRow) -> None:
        """Take the next row in; of an address that comes again, the mode decides what counts."""
        self.rows_read += 1
        if isinstance(row, RejectedRow):
            self.rejected.append(row)
            return
        known = self.contacts.get(row.email)
        if known is None:
            self.contacts[row.email] = row
            return
        self.repeated += 1
        if self.mode is not ImportMode.CREATE_ONLY:
            self.contacts[row.email] = known.merged_with(row)

    def refuse(self, taken: TakenIn) -> None:
        """Reject contacts that could not be stored. Of an address that comes again, the last row is rejected."""
        for emails, problem in ((taken.refused, TOO_MANY_ATTRIBUTES), (taken.unknown, UNKNOWN_CONTACT)):
            refused = [self.contacts.pop(email) for email in emails]
            self.rejected += [RejectedRow(contact.row, "", *problem) for contact in refused]
        for contact in [self.contacts.pop(email) for email in taken.incomplete]:
            self.rejected.append(RejectedRow(contact.row, contact.missing[0], *REQUIRED))
        self.rejected.sort(key=lambda rejected: rejected.row)


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of a chunk's contacts.

    `refused` are addresses whose attributes would have been too many, `unknown` those that could only be updated and do
    not exist, `incomplete` new ones without an attribute that is required; `lifted` the contacts that are active again.
    """

    created: int
    updated: int
    unchanged: int
    refused: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    incomplete: frozenset[str] = frozenset()
    lifted: tuple[UUID, ...] = ()
