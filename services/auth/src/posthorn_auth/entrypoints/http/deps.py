"""What routes depend on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from posthorn_auth.app.joining import Actor
from posthorn_auth.app.signing_in import Client
from posthorn_auth.bootstrap import Container
from posthorn_common.http.clients import client_address
from posthorn_common.http.identity import authenticated
from posthorn_common.http.problems import ProblemError
from posthorn_common.tokens import Principal


def container(request: Request) -> Container:
    """Return the service's container."""
    found: Container = request.app.state.container
    return found


def client(request: Request) -> Client:
    """Return where the request comes from."""
    return Client(address=client_address(request), user_agent=request.headers.get("user-agent", ""))


def person(caller: Annotated[Principal, Depends(authenticated)]) -> Principal:
    """Return the caller if it is a user; an API key answers 403."""
    if caller.kind != "user":
        raise ProblemError(403, "users_only", "An API key cannot do this.")
    return caller


def actor(caller: Principal) -> Actor:
    """Return the caller as somebody who manages users."""
    return Actor(organisation_id=caller.organisation_id, user_id=caller.subject_id, role=caller.role or "")


Services = Annotated[Container, Depends(container)]
FromClient = Annotated[Client, Depends(client)]
Person = Annotated[Principal, Depends(person)]
