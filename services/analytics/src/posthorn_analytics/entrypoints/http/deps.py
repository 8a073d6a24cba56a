"""What routes depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from posthorn_analytics.bootstrap import Container
from posthorn_common.http.identity import requires
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission


def container(request: Request) -> Container:
    """Return the service's container."""
    found: Container = request.app.state.container
    return found


Services = Annotated[Container, Depends(container)]
Reader = Annotated[Principal, Depends(requires(Permission.STATISTICS_READ))]
