"""What can be wrong in general; the edge answers by these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Conflict(CampaignsError):
    """It cannot be done as things stand."""


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


class Invalid(CampaignsError):
    """The request makes no sense."""


class TooLarge(CampaignsError):
    """More than is allowed."""


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
