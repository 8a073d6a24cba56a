"""Settings from the environment."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from pydantic import ValidationError

from posthorn_common.testing import common_settings
from posthorn_gateway.settings import Settings


@pytest.fixture
def environment() -> dict[str, Any]:
    urls = {f"{name}_url": f"http://{name}:8000" for name in ("auth", "campaigns", "mailer", "analytics")}
    return {**common_settings(redis_url="redis://redis", amqp_url="amqp://rabbitmq"), **urls}


def test_lists_are_json(monkeypatch: pytest.MonkeyPatch, environment: dict[str, Any]) -> None:
    monkeypatch.setenv("POSTHORN_GATEWAY_TRUSTED_PROXIES", '["10.0.0.0/8", "fd00::/8"]')
    monkeypatch.setenv("POSTHORN_GATEWAY_CORS_ORIGINS", '["https://app.example"]')
    settings = Settings(**environment)
    assert settings.trusted_proxies == [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]
    assert settings.cors_origins == ["https://app.example"]


@pytest.mark.parametrize("origin", ["*", "null", "https://app.example/page", "http://app.example"])
def test_what_no_page_should_be_allowed_is_no_setting(environment: dict[str, Any], origin: str) -> None:
    with pytest.raises(ValidationError):
        Settings(**environment, cors_origins=[origin])


def test_api_keys_are_not_cached_for_longer_than_a_minute(environment: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**environment, api_key_cache_seconds=61)
