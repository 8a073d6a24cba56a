"""Every route of every service against every role: nobody gets further than the one table of permissions says.

The applications run without what is behind them: whoever is let in fails on that, and not on a 401 or 403.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from posthorn_common.testing import TokenMint
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Permission, Role
from posthorn_gateway.domain.routes import Entrance, RoutingTable, Service

pytestmark = pytest.mark.contract

TABLE = RoutingTable()
MINT = TokenMint()
OWN_BUSINESS = {
    "sign_out", "get_me", "change_password",
    "list_sessions", "revoke_session", "revoke_other_sessions",
    "ask_to_verify_email", "ask_to_change_email",
    "get_second_factor", "begin_second_factor", "confirm_second_factor", "renew_recovery_codes",
    "disable_second_factor",
}  # fmt: skip
"""What everybody may do who is signed in: it concerns nobody but themselves."""


@dataclass(frozen=True)
class Operation:
    service: str
    method: str
    path: str
    operation_id: str
    permissions: frozenset[str]
    entrance: Entrance

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _app(service: str) -> FastAPI:
    module = importlib.import_module(f"posthorn_{service}.entrypoints.http.app")
    app: FastAPI = module.build_app(None)
    app.state.identity = MINT.identity(service)
    return app


APPS = {str(service): _app(str(service)) for service in Service}


def _permissions(dependant: Dependant) -> Iterator[str]:
    """Yield what `requires` was called with, anywhere among the dependencies."""
    permission = getattr(dependant.call, "permission", None)
    if permission is not None:
        yield str(permission)
    for inner in dependant.dependencies:
        yield from _permissions(inner)


def _operations() -> Iterator[Operation]:
    for service, app in APPS.items():
        for route in iter_route_contexts(app.routes):
            if not isinstance(route.original_route, APIRoute) or not route.include_in_schema:
                continue
            path, permissions = str(route.path), frozenset(_permissions(route.dependant))
            for method in route.methods or ():
                found = TABLE.find(method, path)
                if found is not None and found.service == service:
                    yield Operation(service, method, path, route.operation_id, permissions, found.entrance)


OPERATIONS = sorted(_operations(), key=str)
BEHIND_THE_DOOR = [operation for operation in OPERATIONS if operation.entrance is Entrance.BEARER]


def test_the_matrix_covers_the_whole_document() -> None:
    documented = {
        (service, method.upper(), path)
        for service, app in APPS.items()
        for path, item in app.openapi()["paths"].items()
        for method in item
    }
    assert {(operation.service, operation.method, operation.path) for operation in OPERATIONS} == documented
    assert len(documented) > 100


def test_every_route_asks_for_a_permission_or_is_everybodys_own_business() -> None:
    without = {operation.operation_id for operation in BEHIND_THE_DOOR if not operation.permissions}
    assert without == OWN_BUSINESS


def test_routes_that_anybody_may_call_ask_for_nothing() -> None:
    public = [operation for operation in OPERATIONS if operation.entrance is not Entrance.BEARER]
    assert public
    assert [str(operation) for operation in public if operation.permissions] == []


def test_every_permission_guards_something() -> None:
    used = frozenset[str]().union(*(operation.permissions for operation in BEHIND_THE_DOOR))
    assert used == {str(permission) for permission in Permission}


@pytest.mark.parametrize("operation", BEHIND_THE_DOOR, ids=str)
async def test_a_role_gets_as_far_as_its_permissions(operation: Operation) -> None:
    transport = httpx.ASGITransport(APPS[operation.service], raise_app_exceptions=False)
    path = re.sub(r"\{[^}]+\}", str(UUID(int=1)), operation.path)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:

        async def status(headers: dict[str, str]) -> int:
            # A body that is none: whoever is let in is told so, or fails on what is not there.
            answer = await http.request(operation.method, path, headers=headers, json=[])
            return answer.status_code

        assert await status({}) == 401
        for role in Role:
            token = MINT.access_token(uuid4(), ROLE_PERMISSIONS[role])
            let_in = await status({"Authorization": f"Bearer {token}"}) not in {401, 403}
            assert let_in == (operation.permissions <= ROLE_PERMISSIONS[role]), role
