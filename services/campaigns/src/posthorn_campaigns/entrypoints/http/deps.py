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


def remote_address(request: Request) -> str:
    """Return where on the network a request comes from; the gateway says so in X-Forwarded-For."""
    forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return (forwarded or (request.client.host if request.client else ""))[:100]


RemoteAddress = Annotated[str, Depends(remote_address)]
Services = Annotated[Container, Depends(container)]
ContactsReader = Annotated[Principal, Depends(requires(Permission.CONTACTS_READ))]
ContactsWriter = Annotated[Principal, Depends(requires(Permission.CONTACTS_WRITE))]
ContactsEraser = Annotated[Principal, Depends(requires(Permission.CONTACTS_ERASE))]
ContactsDiscloser = Annotated[Principal, Depends(requires(Permission.CONTACTS_DISCLOSE))]
