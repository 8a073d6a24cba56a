"""What routes depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from posthorn_common.http.identity import requires
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission
from posthorn_mailer.bootstrap import Container


def container(request: Request) -> Container:
    """Return the service's container."""
    found: Container = request.app.state.container
    return found


Services = Annotated[Container, Depends(container)]
DeliveryReader = Annotated[Principal, Depends(requires(Permission.DELIVERIES_READ))]
Sender = Annotated[Principal, Depends(requires(Permission.CAMPAIGNS_SEND))]
