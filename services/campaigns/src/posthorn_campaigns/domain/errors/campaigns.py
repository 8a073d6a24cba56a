"""What can be wrong with templates and campaigns.

NotFound         TemplateNotFound, CampaignNotFound
Conflict         RetryTooLate, CampaignNotEditable, CampaignRunning, StaleCampaign, TemplateInUse, MessageRefused
Invalid          NoAudience, ScheduleInvalid, TemplateInvalid
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthorn_campaigns.domain.errors.kinds import Conflict, Invalid, NotFound


class TemplateNotFound(NotFound):
    """There is no such template."""

    code, noun = "template_not_found", "template"


class CampaignNotFound(NotFound):
    """There is no such campaign."""

    code, noun = "campaign_not_found", "campaign"


class RetryTooLate(Conflict):
    """The campaign was completed so long ago that nothing of it can be sent any more."""

    code = "retry_too_late"

    def __init__(self) -> None:
        super().__init__("The campaign was completed too long ago for its failed deliveries to be tried again.")


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


class NoAudience(Invalid):
    """A campaign needs somebody to go to."""

    code = "no_audience"

    def __init__(self) -> None:
        super().__init__("A campaign needs list_ids or segment_ids.")


class ScheduleInvalid(Invalid):
    """The time cannot be scheduled."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # one class for the codes of one field


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
