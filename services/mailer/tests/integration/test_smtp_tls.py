"""Encryption, signing in, and trying a relay out."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from posthorn_mailer.adapters.smtp import Dialling, SmtpMailTransport, TlsContexts
from posthorn_mailer.domain.relays import Relay, TlsMode
from posthorn_mailer.domain.replies import Attempt, Outcome, Stage, classify

from .smtp_peer import LOST, NO_REPLY, SHORT, Peer, a_message, a_relay, a_transport

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority `ca.pem` and a server certificate of its for localhost, `server.pem` with its key."""
    folder = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.now(dt.UTC)

    def certificate(name: str, issuer: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey):
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )

    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(certificate("Test CA", "Test CA", authority, authority).public_bytes(pem))
    key = server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(certificate("localhost", "Test CA", server, authority).public_bytes(pem) + key)
    return folder


@pytest.fixture
def server_tls(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    return context


def _starttls_peer(tls: ssl.SSLContext, script: dict[str, object] | None = None) -> Peer:
    peer = Peer(script, extensions=["STARTTLS", "AUTH PLAIN LOGIN"])
    peer.tls = tls
    return peer


async def test_starttls_encrypts_before_signing_in(certificates: Path, server_tls: ssl.SSLContext) -> None:
    async with (
        _starttls_peer(server_tls).listening() as peer,
        a_transport(ca_file=certificates / "ca.pem") as transport,
    ):
        attempt = await transport.send(a_relay(peer.port, tls=TlsMode.STARTTLS, username="ada"), a_message())
    assert classify(attempt).outcome is Outcome.SENT
    verbs = [command.split(" ")[0] for command in peer.commands]
    assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]
    assert peer.commands[3] == "AUTH PLAIN AGFkYQBww6Rzc3dvcmQ="


async def test_implicit_tls_encrypts_from_the_first_byte(certificates: Path, server_tls: ssl.SSLContext) -> None:
    peer = Peer(extensions=["AUTH PLAIN"])
    async with peer.listening(implicit=server_tls), a_transport(ca_file=certificates / "ca.pem") as transport:
        attempt = await transport.send(a_relay(peer.port, tls=TlsMode.IMPLICIT, username="ada"), a_message())
    assert classify(attempt).outcome is Outcome.SENT


@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_certificate_of_an_unknown_authority_is_refused_unless_told_not_to_look(
    server_tls: ssl.SSLContext, mode: TlsMode
) -> None:
    implicit = server_tls if mode is TlsMode.IMPLICIT else None
    async with _starttls_peer(server_tls).listening(implicit=implicit) as peer, a_transport() as transport:
        refused = await transport.send(a_relay(peer.port, tls=mode, username="ada"), a_message())
        said = list(peer.commands)
        taken = await transport.send(a_relay(peer.port, tls=mode, verify_certificate=False), a_message())
    assert (refused.stage, refused.code) == (Stage.TLS, None)
    assert "certificate" in refused.text
    assert not any(command.startswith(("AUTH", "MAIL")) for command in said)
    assert classify(refused).counts_attempt is False
    assert classify(taken).outcome is Outcome.SENT


async def test_a_certificate_for_another_name_is_refused(certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    peer = Peer()
    # 127.0.0.2 is the same machine, but not the name that the certificate is for.
    async with (
        peer.listening(host="127.0.0.2", implicit=context),
        a_transport(ca_file=certificates / "ca.pem") as transport,
    ):
        attempt = await transport.send(a_relay(peer.port, host="127.0.0.2", tls=TlsMode.IMPLICIT), a_message())
    assert (attempt.stage, attempt.code) == (Stage.TLS, None)
    assert "certificate" in attempt.text


async def test_a_stripped_starttls_is_refused_and_no_secret_is_said() -> None:
    async with Peer(extensions=["AUTH PLAIN"]).listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port, tls=TlsMode.STARTTLS, username="ada"), a_message())
    assert attempt == Attempt(Stage.TLS, None, None, "The relay does not offer STARTTLS")
    assert peer.commands == ["EHLO client.test"]


async def test_a_refused_or_broken_starttls_is_a_failure_of_tls(server_tls: ssl.SSLContext) -> None:
    async with a_transport() as transport:
        for script, code in (({"STARTTLS": "454 4.7.0 not now"}, 454), ({"STARTTLS": "close"}, None)):
            async with _starttls_peer(server_tls, script).listening() as peer:
                attempt = await transport.send(a_relay(peer.port, tls=TlsMode.STARTTLS, username="ada"), a_message())
            assert (attempt.stage, attempt.code) == (Stage.TLS, code)


@pytest.mark.parametrize("slipped_in", ["\r\n250-evil\r\n250 AUTH LOGIN", "\r\n2", "\r\n\x16\x03\x01"])
async def test_whoever_slips_words_in_before_the_handshake_is_told_nothing(
    certificates: Path, server_tls: ssl.SSLContext, slipped_in: str
) -> None:
    script: dict[str, object] = {"STARTTLS": f"220 go{slipped_in}"}
    async with (
        _starttls_peer(server_tls, script).listening() as peer,
        a_transport(ca_file=certificates / "ca.pem") as transport,
    ):
        attempt = await transport.send(a_relay(peer.port, tls=TlsMode.STARTTLS, username="ada"), a_message())
    assert attempt == Attempt(Stage.TLS, None, None, "The relay said more than it was asked")
    assert peer.commands == ["EHLO client.test", "STARTTLS"]


@pytest.mark.parametrize(
    ("script", "extensions", "expected"),
    [
        ({"AUTH": "535 5.7.8 no"}, ["AUTH PLAIN"], Attempt(Stage.AUTH, 535, "5.7.8", "5.7.8 no")),
        ({"AUTH": "454 4.7.0 later"}, ["AUTH PLAIN"], Attempt(Stage.AUTH, 454, "4.7.0", "4.7.0 later")),
        ({"AUTH": "silence"}, ["AUTH PLAIN"], Attempt(Stage.AUTH, None, None, NO_REPLY)),
        ({"AUTH": "close"}, ["AUTH PLAIN"], Attempt(Stage.AUTH, None, None, LOST)),
        ({}, ["AUTH XOAUTH2"], Attempt(Stage.AUTH, None, None, "The relay offers neither AUTH PLAIN nor AUTH LOGIN")),
        ({}, [], Attempt(Stage.AUTH, None, None, "The relay offers neither AUTH PLAIN nor AUTH LOGIN")),
    ],
)
async def test_a_failed_sign_in_is_the_relay_s_matter(
    script: dict[str, object], extensions: list[str], expected: Attempt
) -> None:
    seconds = SHORT if "silence" in script.values() else 5.0
    async with Peer(script, extensions=extensions).listening() as peer, a_transport(seconds=seconds) as transport:
        attempt = await transport.send(a_relay(peer.port, username="ada"), a_message())
    assert attempt == expected
    verdict = classify(attempt)
    assert (verdict.outcome, verdict.counts_attempt) == (Outcome.DEFERRED, False)
    assert not any(command.startswith("MAIL") for command in peer.commands)


async def test_auth_login_is_used_where_plain_is_not_offered() -> None:
    script: dict[str, object] = {"AUTH": "334 UGFzc3dvcmQ6", "CMOKC3N3B3JK": "235 2.7.0 welcome"}
    script["CMOKC3N3B3JK"] = "235 2.7.0 welcome"
    async with Peer(script, extensions=["AUTH LOGIN"]).listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port, username="ada"), a_message())
    assert peer.commands[1:3] == ["AUTH LOGIN YWRh", "cMOkc3N3b3Jk"]
    assert classify(attempt).outcome is Outcome.SENT


async def test_a_relay_that_asks_for_the_name_again_is_told_it_again() -> None:
    script: dict[str, object] = {"AUTH": "334 VXNlcm5hbWU6", "YWRH": "334 UGFzc3dvcmQ6", "CMOKC3N3B3JK": "235 welcome"}
    async with Peer(script, extensions=["AUTH=LOGIN"]).listening() as peer, a_transport() as transport:
        attempt = await transport.send(a_relay(peer.port, username="ada"), a_message())
    assert peer.commands[1:4] == ["AUTH LOGIN YWRh", "YWRh", "cMOkc3N3b3Jk"]
    assert classify(attempt).outcome is Outcome.SENT


async def test_a_token_is_used_for_xoauth2_and_for_nothing_else() -> None:
    async def the_token(_relay: Relay) -> str:
        return "Bearer ya29.token"

    dialling = Dialling(the_token, TlsContexts(), ehlo_name="client.test", allow_internal=True)
    transport = SmtpMailTransport(dialling)
    async with Peer(extensions=["AUTH PLAIN XOAUTH2"]).listening() as able:
        assert (await transport.probe(a_relay(able.port, username="ada@example.com"))).code == 250
    said = base64.b64decode(able.commands[1].removeprefix("AUTH XOAUTH2 "))
    assert said == b"user=ada@example.com\1auth=Bearer ya29.token\1\1"

    async with Peer(extensions=["AUTH PLAIN LOGIN"]).listening() as unable:
        attempt = await transport.probe(a_relay(unable.port, username="ada@example.com"))
    assert attempt == Attempt(Stage.AUTH, None, None, "The relay does not offer AUTH XOAUTH2")
    assert unable.commands == ["EHLO client.test"]


async def test_the_reason_why_a_token_is_refused_is_asked_for() -> None:
    async def the_token(_relay: Relay) -> str:
        return "Bearer expired"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (
            b"220 hi",
            b"250-peer\r\n250 AUTH XOAUTH2",
            b"334 eyJzdGF0dXMiOiI0MDAifQ==",
            b"535 5.7.8 expired",
        ):
            writer.write(reply + b"\r\n")
            lines.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        over.set()

    lines: list[bytes] = []
    over = asyncio.Event()
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    dialling = Dialling(the_token, TlsContexts(), ehlo_name="client.test", allow_internal=True)
    relay = a_relay(server.sockets[0].getsockname()[1], username="ada")
    assert await SmtpMailTransport(dialling).probe(relay) == Attempt(Stage.AUTH, 535, "5.7.8", "5.7.8 expired")
    await over.wait()
    server.close()
    assert lines[2] == b"\r\n"


async def test_a_password_that_cannot_be_read_is_told_and_the_message_waits() -> None:
    async def unreadable(_relay: Relay) -> str:
        raise RuntimeError("another key")

    dialling = Dialling(unreadable, TlsContexts(), ehlo_name="client.test", allow_internal=True)
    async with Peer(extensions=["AUTH PLAIN"]).listening() as peer:
        attempt = await SmtpMailTransport(dialling).send(a_relay(peer.port, username="ada"), a_message())
    assert attempt == Attempt(Stage.AUTH, None, None, "The relay's password cannot be read")


# Trying a relay out.


async def test_a_probe_tells_that_a_relay_is_fit_for_use_or_why_not() -> None:
    async with Peer(extensions=["AUTH PLAIN"]).listening() as peer, a_transport() as transport:
        fit = await transport.probe(a_relay(peer.port, username="ada"))
        peer.script["AUTH"] = "535 5.7.8 no"
        unfit = await transport.probe(a_relay(peer.port, username="ada"))
    assert (fit.stage, fit.code) == (Stage.MAIL, 250)
    assert (unfit.stage, unfit.code) == (Stage.AUTH, 535)
    assert [command.split(" ")[0] for command in peer.commands] == ["EHLO", "AUTH", "NOOP", "QUIT", "EHLO", "AUTH"]
