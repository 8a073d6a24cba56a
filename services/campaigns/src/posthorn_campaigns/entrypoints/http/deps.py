"""What routes depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from posthorn_campaigns.bootstrap import Container
from posthorn_common.http.identity import requires
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission


def container(request: Request) -> Container:
    """Return the service's container."""
    found: Container = request.app.state.container
    return found


Services = Annotated[Container, Depends(container)]
ContactsReader = Annotated[Principal, Depends(requires(Permission.CONTACTS_READ))]
ContactsWriter = Annotated[Principal, Depends(requires(Permission.CONTACTS_WRITE))]
