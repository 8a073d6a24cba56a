"""Mail about accounts through a real mailer and a real SMTP server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa

from posthorn_auth.adapters.mailer_client import HttpAccountMailer
from posthorn_auth.bootstrap import Container, bootstrap
from posthorn_auth.domain.errors import MailNotTaken
from posthorn_auth.entrypoints.http.app import build_app
from posthorn_auth.settings import Settings
from posthorn_common import migrations
from posthorn_common.runtime import http_role
from posthorn_common.testing import common_settings
from posthorn_local.ports import free_ports
from posthorn_local.testing.smtp import RecordedMessage, RecordingSmtpServer
from posthorn_mailer import bootstrap as mailer_bootstrap
from posthorn_mailer.app.managing_relays import NewRelay
from posthorn_mailer.domain.relays import TlsMode
from posthorn_mailer.entrypoints.http.app import build_app as build_mailer_app
from posthorn_mailer.entrypoints.roles import roles as mailer_roles
from posthorn_mailer.settings import Settings as MailerSettings

pytestmark = pytest.mark.integration
PASSWORD = "a long and private sentence"
KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.fixture(scope="module")
def mailer_database(make_database: Callable[[str], str]) -> str:
    url = make_database("mailer")
    asyncio.run(migrations.upgrade(url, mailer_bootstrap.MIGRATIONS))
    return url


@pytest_asyncio.fixture
async def mailer(mailer_database: str, redis_url: str, amqp_url: str) -> AsyncGenerator[mailer_bootstrap.Container]:
    """A mailer that serves its internal routes on a port and sends messages."""
    settings = MailerSettings(
        **{**common_settings(redis_url=redis_url, amqp_url=amqp_url), "port": free_ports(1)[0]},
        database_url=mailer_database,
        encryption_key=KEY,
        link_secret=KEY,
        campaigns_url="http://127.0.0.1:9",
    )
    async with mailer_bootstrap.bootstrap(settings) as container:
        stop = asyncio.Event()
        app = build_mailer_app(container)
        running = [
            http_role(app, host=settings.host, port=settings.port),
            *mailer_roles(container, frozenset({"worker"})),
        ]
        tasks = [asyncio.create_task(role.run(stop)) for role in running]
        await _eventually(lambda: _answers(f"http://127.0.0.1:{settings.port}/health/live"))
        yield container
        stop.set()
        await asyncio.gather(*tasks)


@pytest.fixture
def settings(settings: Settings, mailer: mailer_bootstrap.Container) -> Settings:
    return settings.model_copy(update={"mailer_url": f"http://127.0.0.1:{mailer.settings.port}"})


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient() as http:
        with contextlib.suppress(httpx.HTTPError):
            return (await http.get(url)).status_code == 200
    return False


async def _eventually(check: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await check()):  # noqa: ASYNC110  other processes do what is waited for
            await asyncio.sleep(0.05)
    return found


async def _add_relay(mailer: mailer_bootstrap.Container, organisation_id: str, smtp: RecordingSmtpServer) -> None:
    relay = NewRelay(
        name="Test", host="127.0.0.1", port=smtp.port, tls=TlsMode.NONE, verify_certificate=False, username=None,
        password=None, max_connections=1, messages_per_second=None, from_email="accounts@example.com",
        is_default=True, weight=0, warm_up=None,
    )  # fmt: skip
    await mailer.managing_relays.create(UUID(organisation_id), relay)


async def _message(smtp: RecordingSmtpServer, email: str) -> RecordedMessage:
    async def arrived() -> list[RecordedMessage]:
        return smtp.messages_to(email)

    messages = await _eventually(arrived)
    assert len(messages) == 1
    found: RecordedMessage = messages[0]
    return found


async def _due_again(container: Container) -> None:
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text("UPDATE account_mails SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL")
        )


async def test_a_link_arrives_by_mail_and_works(
    client: httpx.AsyncClient,
    container: Container,
    mailer: mailer_bootstrap.Container,
    register: Any,
    smtp_server: RecordingSmtpServer,
) -> None:
    owner = await register(organisation_name="Lamp {token} & Söhne")
    await _add_relay(mailer, owner["organisation"]["id"], smtp_server)
    email = f"guest-{uuid4()}@example.com"
    body = {"email": email, "role": "viewer"}
    assert (await client.post("/v1/invitations", json=body, headers=owner["headers"])).status_code == 201
    await container.sending_mails.send_due()
    message = (await _message(smtp_server, email)).message
    assert message["Subject"] == "You are invited to Lamp {token} & Söhne"
    assert message["From"] == "Posthorn <accounts@example.com>"
    link = re.search(r"https://posthorn.test/account/accept-invitation#(\S+)", message.get_content())
    assert link is not None
    accepted = {"token": link[1], "name": "Guest", "password": PASSWORD}
    assert (await client.post("/v1/auth/invitations/accept", json=accepted)).status_code == 201


async def test_mail_waits_for_a_relay_and_for_a_mailer_and_is_sent_once(
    client: httpx.AsyncClient,
    container: Container,
    mailer: mailer_bootstrap.Container,
    register: Any,
    smtp_server: RecordingSmtpServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = await register()
    email = owner["user"]["email"]
    await client.post("/v1/auth/email/verification", headers=owner["headers"])
    await container.sending_mails.send_due()  # there is no relay yet
    await _add_relay(mailer, owner["organisation"]["id"], smtp_server)
    send = HttpAccountMailer.send

    async def send_and_die(self: HttpAccountMailer, *arguments: Any) -> None:
        await send(self, *arguments)
        raise MailNotTaken("the process dies here")

    monkeypatch.setattr(HttpAccountMailer, "send", send_and_die)
    await _due_again(container)
    await container.sending_mails.send_due()
    monkeypatch.setattr(HttpAccountMailer, "send", send)
    await client.patch("/v1/organisation", json={"name": "Another name"}, headers=owner["headers"])
    await _due_again(container)
    await container.sending_mails.send_due()
    await _message(smtp_server, email)
    async with container.engine.connect() as connection:
        query = sa.text("SELECT next_attempt_at FROM account_mails WHERE to_email = :email")
        assert await connection.scalar(query, {"email": email}) is None


async def test_the_operators_relay_sends_for_organisations_that_have_none(
    container: Container,
    mailer: mailer_bootstrap.Container,
    register: Any,
    settings: Settings,
    smtp_server: RecordingSmtpServer,
) -> None:
    operator = (await register())["organisation"]["id"]
    await _add_relay(mailer, operator, smtp_server)
    changed = settings.model_copy(update={"mail_organisation_id": UUID(operator)})
    email = f"new-{uuid4()}@example.com"
    async with bootstrap(changed) as opened:
        transport = httpx.ASGITransport(build_app(opened))
        async with httpx.AsyncClient(transport=transport, base_url="http://auth") as http:
            body = {"organisation_name": "New", "name": "Ada", "email": email, "password": PASSWORD}
            assert (await http.post("/v1/auth/register", json=body)).status_code == 201
        await opened.sending_mails.send_due()
    message = (await _message(smtp_server, email)).message
    assert message["Subject"] == "Confirm your e-mail address", "such an installation asks at registration"
