"""The stage with something changed: mail that is signed, and a relay that is reached over TLS."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from benchmarks.harness.certificate import write_certificate
from benchmarks.harness.sink import own_sink
from benchmarks.send.letter import DOMAIN
from benchmarks.send.stage import Stage
from posthorn_common.clock import new_id
from posthorn_common.secretbox import SecretBox
from posthorn_common.settings import secret_bytes
from posthorn_mailer.adapters.dkim import make_key
from posthorn_mailer.domain.sending_domains import DkimAlgorithm, key_purpose

_DOMAIN = "INSERT INTO sending_domains (id, organisation_id, name, created_at) VALUES ($1, $2, $3, $4)"
_KEY = """
    INSERT INTO dkim_keys (id, organisation_id, domain_id, generation, algorithm, selector, public_key,
                           sealed_private_key, verified_at, created_at)
    VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $8)
"""
_RELAY = "UPDATE relays SET port = $1, tls = $2, verify_certificate = $3, version = version + 1"


@contextlib.asynccontextmanager
async def signed(stage: Stage, algorithms: Sequence[DkimAlgorithm]) -> AsyncGenerator[None]:
    """Have mail signed, with keys that count as found in the DNS."""
    box = SecretBox(secret_bytes(SecretStr(stage.environment["POSTHORN_MAILER_ENCRYPTION_KEY"])))
    domain_id, now = new_id(), datetime.now(UTC)
    await stage.database.execute(_DOMAIN, domain_id, stage.organisation_id, DOMAIN, now)
    for algorithm in algorithms:
        key_id, material = new_id(), make_key(algorithm)
        sealed = box.seal(material.private, purpose=key_purpose(key_id))
        await stage.database.execute(
            _KEY, key_id, stage.organisation_id, domain_id, algorithm, algorithm[:3], material.public, sealed, now
        )
    try:
        yield
    finally:
        await stage.database.execute("DELETE FROM sending_domains")


@contextlib.asynccontextmanager
async def through_own_sink(stage: Stage, *, tls: bool) -> AsyncGenerator[Stage]:
    """Send to the sink of ours, which takes BDAT and costs less than Postfix's; with or without TLS."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = write_certificate(Path(folder)) if tls else None
        async with own_sink(certificate) as (port, pid):
            await stage.database.execute(_RELAY, port, "implicit" if tls else "none", not tls)
            try:
                yield stage.with_sink(port, pid)
            finally:
                await stage.database.execute(_RELAY, stage.sink_port, "none", True)
