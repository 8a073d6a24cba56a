"""How the table is read."""

from __future__ import annotations

import pytest

from posthorn_gateway.domain.routes import ONE_MEBIBYTE, Entrance, Route, RoutingTable, Service

TABLE = RoutingTable()


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/v1/campaigns", "campaigns"),
        ("/v1/campaigns/1", "campaigns"),
        ("/v1/campaigns/1/actions/pause", "campaigns"),
        ("/v1/campaigns/1/statistics", "analytics"),
        ("/v1/campaigns/1/statistics/links", "analytics"),
        ("/v1/campaigns/1/progress", "analytics"),
        ("/v1/campaigns/1/deliveries/2", "mailer"),
        ("/v1/campaigns/1/deliveries.csv", "mailer"),
        ("/v1/campaigns/1/deliveriesx", "campaigns"),
        ("/v1/campaigns/1/send", "mailer"),
        ("/v1/campaigns/1/send/x", "campaigns"),
        ("/v1/campaigns/1/actions/send", "campaigns"),
        ("/v1/organisation", "auth"),
        ("/v1/users/1", "auth"),
        ("/v1/auth", None),
        ("/v1/organisation/1", None),
        ("/v1/usersx", None),
        ("/v1/users/", None),
        ("/internal/messages", None),
        ("/t/o/a/b", None),
        ("/u", None),
        ("/", None),
        ("/metrics", None),
    ],
)
def test_a_path_has_one_service_or_none(path: str, service: str | None) -> None:
    route = TABLE.find("GET", path)
    assert (route.service if route else None) == service


def test_the_first_match_wins() -> None:
    table = RoutingTable([Route("/a/{id}/x", Service.MAILER), Route("/a*", Service.AUTH)])
    found = [table.find("GET", path) for path in ("/a/1/x", "/a/1/y", "/a")]
    assert [route.service for route in found if route] == ["mailer", "auth", "auth"]


def test_only_uploads_may_be_large() -> None:
    upload = TABLE.find("POST", "/v1/imports")
    assert upload is not None
    assert upload.max_body_bytes == 200 * ONE_MEBIBYTE
    for method, path in (("GET", "/v1/imports"), ("POST", "/v1/imports/1/x"), ("POST", "/v1/contacts")):
        route = TABLE.find(method, path)
        assert route is not None
        assert route.max_body_bytes == ONE_MEBIBYTE


def test_who_needs_no_token() -> None:
    open_paths = {"/v1/auth/login", "/v1/auth/register", "/v1/auth/refresh", "/.well-known/jwks.json", "/t/o/x", "/u/x"}
    closed = {"/v1/auth/me", "/v1/auth/logout", "/v1/auth/password", "/v1/auth/login/x", "/v1/users", "/v1/campaigns"}
    for path in open_paths | closed:
        route = TABLE.find("POST", path)
        assert route is not None
        assert (route.entrance is Entrance.BEARER) is (path in closed), path
