"""Settings fail at start, completely and by name."""

from __future__ import annotations

import base64

import pytest
from pydantic_settings import SettingsConfigDict

from posthorn_common.cli import settings_table
from posthorn_common.settings import DatabaseSettings, EncryptionKey, load_settings, secret_bytes


class Settings(DatabaseSettings):
    model_config = SettingsConfigDict(env_prefix="POSTHORN_SAMPLE_", frozen=True, extra="ignore")

    encryption_key: EncryptionKey


COMPLETE = {
    "PORT": "8099",
    "AMQP_URL": "amqp://localhost/",
    "REDIS_URL": "redis://localhost/0",
    "INTERNAL_SECRET": base64.urlsafe_b64encode(b"i" * 32).decode(),
    "TOKEN_ISSUER": "https://posthorn.test",
    "JWKS_URL": "http://auth/jwks",
    "PUBLIC_URL": "https://posthorn.test/",
    "DATABASE_URL": "postgresql+asyncpg://localhost/posthorn",
    "ENCRYPTION_KEY": base64.urlsafe_b64encode(b"e" * 32).decode().rstrip("="),
}


def test_they_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(f"POSTHORN_SAMPLE_{name}", value)
    settings = load_settings(Settings)
    assert settings.public_base == "https://posthorn.test"
    assert settings.environment == "production"
    assert secret_bytes(settings.encryption_key) == b"e" * 32
    assert "eeee" not in repr(settings)


def test_everything_that_is_missing_or_wrong_is_listed_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(f"POSTHORN_SAMPLE_{name}", value)
    monkeypatch.delenv("POSTHORN_SAMPLE_DATABASE_URL")
    monkeypatch.setenv("POSTHORN_SAMPLE_PORT", "99999")
    monkeypatch.setenv("POSTHORN_SAMPLE_INTERNAL_SECRET", "too-short")
    monkeypatch.setenv("POSTHORN_SAMPLE_ENCRYPTION_KEY", "é!")
    with pytest.raises(SystemExit) as exit_:
        load_settings(Settings)
    message = capsys.readouterr().err
    assert exit_.value.code == 2
    for name in ("DATABASE_URL", "PORT", "INTERNAL_SECRET", "ENCRYPTION_KEY"):
        assert f"POSTHORN_SAMPLE_{name}: " in message
    assert "too-short" not in message


def test_no_secret_has_a_default() -> None:
    table = settings_table(Settings)
    for name in ("INTERNAL_SECRET", "ENCRYPTION_KEY", "DATABASE_URL", "AMQP_URL", "REDIS_URL"):
        assert f"| `POSTHORN_SAMPLE_{name}` | **required** |" in table
