"""What can be wrong with imports, exports and their files.

NotFound         ImportNotFound, ExportNotFound
Invalid          MissingEmailColumn, InvalidColumn, DuplicateColumn, TooManyColumns, UnknownColumn, UnreadableFile
TooLarge         ImportTooLarge
CampaignsError   TooManyStreams
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthorn_campaigns.domain.errors.kinds import CampaignsError, Invalid, NotFound, TooLarge


class ImportNotFound(NotFound):
    """There is no such import."""

    code, noun = "import_not_found", "import"


class ExportNotFound(NotFound):
    """There is no such export, or no more."""

    code, noun = "export_not_found", "export"


class MissingEmailColumn(Invalid):
    """The CSV file has no column with addresses."""

    code = "missing_email_column"

    def __init__(self) -> None:
        super().__init__("The header needs a column named email.")


class InvalidColumn(Invalid):
    """A column of the CSV file has a name that templates could not use."""

    code = "invalid_column"

    def __init__(self, position: int) -> None:
        super().__init__(f"The name of column {position} needs 1 to 64 letters a-z, digits or underscores.")
        self._position = position

    @property
    def details(self) -> Mapping[str, Any]:
        """The column, counted from 1."""
        return {"column": self._position}


class DuplicateColumn(Invalid):
    """Two columns of the CSV file have the same name."""

    code = "duplicate_column"

    def __init__(self, name: str) -> None:
        super().__init__(f"More than one column is named {name}.")


class TooManyColumns(Invalid):
    """The CSV file has more columns than a contact can have attributes."""

    code = "too_many_columns"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The file has more than {limit} columns.")


class UnknownColumn(Invalid):
    """The mapping names a column that the file does not have."""

    code = "unknown_column"

    def __init__(self, name: str) -> None:
        super().__init__("The mapping names a column that the file does not have.")
        self._name = name

    @property
    def details(self) -> Mapping[str, Any]:
        """The column, as the mapping names it."""
        return {"column": self._name}


class UnreadableFile(Invalid):
    """The file is no text in a format and an encoding that can be told."""

    code = "unreadable_file"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file cannot be read: {reason}.")


class ImportTooLarge(TooLarge):
    """The file is larger than is allowed."""

    code = "body_too_large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The file is larger than {max_bytes} bytes.")


class TooManyStreams(CampaignsError):
    """So many watch already that nobody else can."""

    code = "too_many_streams"

    def __init__(self) -> None:
        super().__init__("Too many streams are open. Try again later, or ask for the import from time to time.")
