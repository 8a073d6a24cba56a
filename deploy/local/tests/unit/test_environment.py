from __future__ import annotations

import pytest

from posthorn_local.environment import SERVICES, ServerUrls, service_environment
from posthorn_local.plan import PREFERRED_PORTS
from posthorn_local.provisioning import SCHEMA_OWNERS
from posthorn_local.secrets_file import load_or_create_secrets

COMMON = {
    "ENVIRONMENT",
    "LOG_LEVEL",
    "HOST",
    "PORT",
    "AMQP_URL",
    "REDIS_URL",
    "INTERNAL_SECRET",
    "TOKEN_ISSUER",
    "JWKS_URL",
    "PUBLIC_URL",
}
OWN = {
    "auth": {"DATABASE_URL", "ENCRYPTION_KEY", "MAILER_URL"},
    "campaigns": {"DATABASE_URL", "LINK_SECRET", "MAILER_URL", "ANALYTICS_URL"},
    "mailer": {"DATABASE_URL", "ENCRYPTION_KEY", "LINK_SECRET", "CAMPAIGNS_URL"},
    "analytics": {"DATABASE_URL", "LINK_SECRET", "CAMPAIGNS_URL"},
    "gateway": {"AUTH_URL", "CAMPAIGNS_URL", "MAILER_URL", "ANALYTICS_URL"},
}


@pytest.fixture
def environments(tmp_path):
    secrets = load_or_create_secrets(tmp_path / "secrets.json")
    return {
        service: service_environment(
            service,
            ports=PREFERRED_PORTS,
            servers=ServerUrls(postgres_admin="postgresql://a", redis="redis://r", amqp="amqp://q"),
            database_urls={owner: f"postgresql+asyncpg://{owner}" for owner in SCHEMA_OWNERS},
            secrets=secrets,
        )
        for service in SERVICES
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_what_the_architecture_says_and_no_more(environments, service):
    prefix = f"POSTHORN_{service.upper()}_"

    assert environments[service].keys() == {f"{prefix}{name}" for name in COMMON | OWN[service]}


def test_services_agree_on_what_they_share(environments):
    def values(name, services):
        return {environments[service][f"POSTHORN_{service.upper()}_{name}"] for service in services}

    assert len(values("INTERNAL_SECRET", SERVICES)) == 1
    assert len(values("LINK_SECRET", ["campaigns", "mailer", "analytics"])) == 1
    assert len(values("ENCRYPTION_KEY", ["auth", "mailer"])) == 2
    assert values("TOKEN_ISSUER", SERVICES) == values("PUBLIC_URL", SERVICES) == {"http://127.0.0.1:8080"}
    assert values("JWKS_URL", SERVICES) == {"http://127.0.0.1:8081/.well-known/jwks.json"}
