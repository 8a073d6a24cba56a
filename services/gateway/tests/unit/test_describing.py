"""The whole document while services come and go."""

from __future__ import annotations

from posthorn_gateway.app.describing import Describing
from posthorn_gateway.app.ports import Reading
from posthorn_gateway.domain.errors import ServiceUnavailable
from posthorn_gateway.domain.routes import RoutingTable, Service

_PATHS = {
    Service.AUTH: "/v1/users",
    Service.CAMPAIGNS: "/v1/contacts",
    Service.MAILER: "/v1/relays",
    Service.ANALYTICS: "/v1/statistics",
}


class FakeNeighbours:
    """Services that describe themselves unless they are away, or talk nonsense."""

    def __init__(self) -> None:
        self.away: set[Service] = set()
        self.confused: set[Service] = set()
        self.asked = 0

    async def read(self, service: Service, path: str) -> Reading:
        self.asked += 1
        if service in self.away:
            raise ServiceUnavailable(service)
        if service in self.confused:
            return Reading(200, None, 0.0)
        paths = {_PATHS[service]: {"get": {"operationId": f"list_{service}"}}, "/internal/x": {"get": {}}}
        return Reading(200, {"openapi": "3.1.0", "paths": paths}, 0.0)


def _describing(neighbours: FakeNeighbours, **options: float) -> Describing:
    return Describing(neighbours, RoutingTable(), public_url="https://posthorn.test", **options)


async def test_the_last_good_copy_stays_while_a_service_is_away() -> None:
    neighbours = FakeNeighbours()
    describing = _describing(neighbours, fresh_seconds=0, retry_seconds=0)
    before = await describing.document()
    neighbours.away = {Service.MAILER}
    neighbours.confused = {Service.AUTH}
    assert await describing.document() == before
    assert set(before["paths"]) == set(_PATHS.values())


async def test_a_service_that_was_away_is_asked_again_soon() -> None:
    neighbours = FakeNeighbours()
    neighbours.away = {Service.MAILER}
    describing = _describing(neighbours, fresh_seconds=3600, retry_seconds=0)
    assert (await describing.document())["x-missing-services"] == ["mailer"]
    neighbours.away = set()
    assert "/v1/relays" in (await describing.document())["paths"]
    asked = neighbours.asked
    await describing.document()
    assert neighbours.asked == asked, "nobody is asked while all is fresh"
