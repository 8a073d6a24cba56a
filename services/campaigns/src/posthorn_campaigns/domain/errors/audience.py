"""What can be wrong with contacts, lists, access and erasure.

NotFound         ContactNotFound, ListNotFound, ErasureNotFound, AccessRequestNotFound
Conflict         ContactExists, ListInUse
CampaignsError   TooManySubscribers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthorn_campaigns.domain.errors.kinds import CampaignsError, Conflict, NotFound


class ContactNotFound(NotFound):
    """There is no such contact."""

    code, noun = "contact_not_found", "contact"


class ListNotFound(NotFound):
    """There is no such list."""

    code, noun = "list_not_found", "list"


class ErasureNotFound(NotFound):
    """There is no such erasure, or it is of another organisation."""

    code, noun = "erasure_not_found", "erasure"


class AccessRequestNotFound(NotFound):
    """There is no such request, it has expired, or it is of another organisation."""

    code, noun = "access_request_not_found", "request for access"


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


class ListInUse(Conflict):
    """A campaign that will be sent, or is being sent, or a segment uses the list."""

    code = "list_in_use"

    def __init__(self) -> None:
        super().__init__("A campaign that is scheduled or being sent, or a segment, uses this list.")


class TooManySubscribers(CampaignsError):
    """A public form was sent too often."""

    code = "too_many_subscribers"

    def __init__(self) -> None:
        super().__init__("This form was sent too often. Try again in an hour.")
