"""What can be wrong, each with a stable code.

CampaignsError
├── NotFound                 ContactNotFound, AttributeNotFound, ListNotFound, ImportNotFound, ExportNotFound,
│                            TemplateNotFound, CampaignNotFound, SegmentNotFound, ErasureNotFound,
│                            AccessRequestNotFound
├── Conflict                 ContactExists, AttributeExists, AttributeInUse, TooManyDeclarations, InvalidTransition,
│                            TooManyIndexed, SegmentInUse, SegmentTooSlow,
│                            CampaignNotEditable, CampaignRunning, ListInUse, TemplateInUse, StaleCampaign,
│                            MessageRefused, RetryTooLate
├── TooLarge                 ImportTooLarge
├── TooManyStreams, TooManySubscribers
└── Invalid                  InvalidRule, SegmentCycle, RuleTooLarge, NoAudience,
                             InvalidAttributes, AttributesDoNotFit, AttributeNotIndexable, UnreadableFile,
                             MissingEmailColumn, InvalidColumn, DuplicateColumn, TooManyColumns, UnknownColumn,
                             ScheduleInvalid, TemplateInvalid, NoSuchReference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class CampaignsError(Exception):
    """A rule of the campaigns service says no."""

    code: ClassVar[str] = "campaigns_error"

    @property
    def problems(self) -> Sequence[Mapping[str, str]]:
        """What is wrong with which part of the request: location, message and code, perhaps a pointer."""
        return ()

    @property
    def details(self) -> Mapping[str, Any]:
        """Facts for programs."""
        return {}


class NotFound(CampaignsError):
    """There is no such thing in the caller's organisation."""

    noun: ClassVar[str] = "thing"

    def __init__(self) -> None:
        super().__init__(f"There is no such {self.noun}.")


class ContactNotFound(NotFound):
    """There is no such contact."""

    code, noun = "contact_not_found", "contact"


class ListNotFound(NotFound):
    """There is no such list."""

    code, noun = "list_not_found", "list"


class SegmentNotFound(NotFound):
    """There is no such segment."""

    code, noun = "segment_not_found", "segment"


class AttributeNotFound(NotFound):
    """There is no such declaration."""

    code, noun = "attribute_not_found", "attribute"


class ImportNotFound(NotFound):
    """There is no such import."""

    code, noun = "import_not_found", "import"


class ExportNotFound(NotFound):
    """There is no such export, or no more."""

    code, noun = "export_not_found", "export"


class ErasureNotFound(NotFound):
    """There is no such erasure, or it is of another organisation."""

    code, noun = "erasure_not_found", "erasure"


class AccessRequestNotFound(NotFound):
    """There is no such request, it has expired, or it is of another organisation."""

    code, noun = "access_request_not_found", "request for access"


class TemplateNotFound(NotFound):
    """There is no such template."""

    code, noun = "template_not_found", "template"


class CampaignNotFound(NotFound):
    """There is no such campaign."""

    code, noun = "campaign_not_found", "campaign"


class Conflict(CampaignsError):
    """It cannot be done as things stand."""


class ContactExists(Conflict):
    """Another contact of the organisation has this address."""

    code = "contact_exists"

    def __init__(self, contact_id: object) -> None:
        super().__init__("A contact with this e-mail address exists.")
        self._contact_id = contact_id

    @property
    def details(self) -> Mapping[str, Any]:
        """The contact that exists."""
        return {"contact_id": str(self._contact_id)}


class AttributeExists(Conflict):
    """An attribute of this key is declared."""

    code = "attribute_exists"

    def __init__(self, key: str) -> None:
        super().__init__(f"The attribute {key} is declared already.")


class AttributeInUse(Conflict):
    """A segment asks for the attribute."""

    code = "attribute_in_use"

    def __init__(self) -> None:
        super().__init__("A segment uses this attribute.")


class SegmentInUse(Conflict):
    """A campaign that is not over, or another segment, uses the segment."""

    code = "segment_in_use"

    def __init__(self) -> None:
        super().__init__("A campaign that is not over, or another segment, uses this segment.")


class SegmentTooSlow(Conflict):
    """The contacts of a segment cannot be counted in the time that a request has."""

    code = "segment_too_slow"

    def __init__(self) -> None:
        super().__init__("Finding these contacts takes too long. Make the rule simpler.")


class TooManyDeclarations(Conflict):
    """No more attributes can be declared."""

    code = "too_many_declarations"

    def __init__(self, limit: int) -> None:
        super().__init__(f"An organisation can declare up to {limit} attributes.")


class TooManyIndexed(Conflict):
    """No more attributes can be indexed."""

    code = "too_many_indexed"

    def __init__(self, limit: int) -> None:
        super().__init__(f"An organisation can have up to {limit} indexed attributes.")


class RetryTooLate(Conflict):
    """The campaign was completed so long ago that nothing of it can be sent any more."""

    code = "retry_too_late"

    def __init__(self) -> None:
        super().__init__("The campaign was completed too long ago for its failed deliveries to be tried again.")


class InvalidTransition(Conflict):
    """The state does not allow it."""

    code = "invalid_transition"

    def __init__(self, noun: str, current: str, requested: str) -> None:
        super().__init__(f"A {noun} that is {current} cannot become {requested}.")
        self.current = current
        self.requested = requested

    @property
    def details(self) -> Mapping[str, Any]:
        """Both states."""
        return {"current": self.current, "requested": self.requested}


class CampaignNotEditable(Conflict):
    """A campaign is changed only before it starts."""

    code = "campaign_not_editable"

    def __init__(self, status: str) -> None:
        super().__init__(f"A campaign that is {status} cannot be changed. Duplicate it instead.")


class CampaignRunning(Conflict):
    """A campaign that is being sent cannot be deleted."""

    code = "campaign_running"

    def __init__(self, status: str) -> None:
        super().__init__(f"A campaign that is {status} cannot be deleted. Cancel it first.")


class StaleCampaign(Conflict):
    """Somebody else changed the campaign at the same moment."""

    code = "campaign_changed"

    def __init__(self) -> None:
        super().__init__("The campaign was changed at the same moment. Read it again.")


class ListInUse(Conflict):
    """A campaign that will be sent, or is being sent, or a segment uses the list."""

    code = "list_in_use"

    def __init__(self) -> None:
        super().__init__("A campaign that is scheduled or being sent, or a segment, uses this list.")


class TemplateInUse(Conflict):
    """A campaign that will be sent uses the template."""

    code = "template_in_use"

    def __init__(self) -> None:
        super().__init__("A campaign that is scheduled uses this template.")


class MessageRefused(Conflict):
    """The mailer does not take the message, for instance because the organisation has no relay."""

    code = "message_refused"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"The message cannot be sent. {detail or reason}")
        self._reason = reason

    @property
    def details(self) -> Mapping[str, Any]:
        """The mailer's own code."""
        return {"reason": self._reason}


class Invalid(CampaignsError):
    """The request makes no sense."""


class InvalidAttributes(Invalid):
    """Attributes of a contact that cannot be stored or used."""

    code = "invalid_attributes"

    def __init__(self, rule: str, name: str | None = None) -> None:
        super().__init__(f"The attributes are not valid: {rule}.")
        self.rule, self._name = rule, name

    @property
    def problems(self) -> Sequence[Mapping[str, str]]:
        """The attribute, where it is one."""
        if self._name is None:
            return ()
        return ({"location": f"body.attributes.{self._name}", "message": self.rule, "code": self.code},)


@dataclass(frozen=True, slots=True)
class RuleProblem:
    """What is wrong at one place of a rule."""

    path: tuple[str | int, ...]
    code: str
    message: str


class InvalidRule(Invalid):
    """The rule of a segment makes no sense."""

    code = "invalid_rule"

    def __init__(self, found: Sequence[RuleProblem]) -> None:
        super().__init__("The rule is not valid.")
        self.found = found

    @property
    def problems(self) -> Sequence[Mapping[str, str]]:
        """Each place, also as a JSON pointer (RFC 6901) into the body."""
        return tuple(
            {
                "location": ".".join(("body", *(str(part) for part in problem.path))),
                "pointer": "".join(f"/{_escaped(part)}" for part in problem.path),
                "code": problem.code,
                "message": problem.message,
            }
            for problem in self.found
        )


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


class SegmentCycle(Invalid):
    """Segments use each other in a circle."""

    code = "segment_cycle"

    def __init__(self) -> None:
        super().__init__("The rule leads back to the segment itself.")


class RuleTooLarge(Invalid):
    """A rule is too large together with those of the segments that it uses."""

    code = "rule_too_large"

    def __init__(self, rules: int, segments: int) -> None:
        super().__init__(
            f"With the segments that it uses the rule has more than {rules} parts, or leads to more than {segments} "
            "segments in a row."
        )


class NoAudience(Invalid):
    """A campaign needs somebody to go to."""

    code = "no_audience"

    def __init__(self) -> None:
        super().__init__("A campaign needs list_ids or segment_ids.")


class AttributesDoNotFit(Invalid):
    """Attributes of a contact are not as the organisation has declared them."""

    code = "invalid_attributes"

    def __init__(self, misfits: Sequence[tuple[str, str, str]]) -> None:
        name, _, message = misfits[0]
        super().__init__(f"The attributes are not as declared: {name} {message}.")
        self.misfits = misfits
        """Key, code and message of each."""

    @property
    def problems(self) -> Sequence[Mapping[str, str]]:
        """Each attribute that does not fit."""
        return tuple(
            {"location": f"body.attributes.{name}", "message": message, "code": code}
            for name, code, message in self.misfits
        )


class AttributeNotIndexable(Invalid):
    """Attributes of this type have no index."""

    code = "attribute_not_indexable"

    def __init__(self, kind: str) -> None:
        super().__init__(f"An attribute of type {kind} cannot be indexed.")


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


class TooLarge(CampaignsError):
    """More than is allowed."""


class ImportTooLarge(TooLarge):
    """The file is larger than is allowed."""

    code = "body_too_large"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"The file is larger than {max_bytes} bytes.")


class TooManySubscribers(CampaignsError):
    """A public form was sent too often."""

    code = "too_many_subscribers"

    def __init__(self) -> None:
        super().__init__("This form was sent too often. Try again in an hour.")


class TooManyStreams(CampaignsError):
    """So many watch already that nobody else can."""

    code = "too_many_streams"

    def __init__(self) -> None:
        super().__init__("Too many streams are open. Try again later, or ask for the import from time to time.")


class ScheduleInvalid(Invalid):
    """The time cannot be scheduled."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # one class for the codes of one field


class NoSuchReference(Invalid):
    """The request names something that does not exist in the organisation."""

    code = "unknown_reference"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} names something that does not exist.")
        self._field = field

    @property
    def details(self) -> Mapping[str, Any]:
        """The field."""
        return {"field": self._field}


class TemplateInvalid(Invalid):
    """A part of a template cannot be used."""

    def __init__(self, code: str, part: str, message: str, line: int | None) -> None:
        where = f"{part}, line {line}" if line else part
        super().__init__(f"{where}: {message}")
        self.code = code  # type: ignore[misc]  # syntax, fuel and size have codes of their own
        self._details = {"part": part, "line": line, "message": message}

    @property
    def details(self) -> Mapping[str, Any]:
        """Part, line and message."""
        return self._details
