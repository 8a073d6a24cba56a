"""The stack's own passwords and keys: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

_SECRET_BYTES = 32


@dataclass(frozen=True, repr=False)
class StackSecrets:
    """32 random bytes each, base64url without padding."""

    postgres_password: str
    redis_password: str
    amqp_password: str
    auth_database_password: str
    campaigns_database_password: str
    mailer_database_password: str
    analytics_database_password: str
    internal_secret: str
    link_secret: str
    auth_encryption_key: str
    mailer_encryption_key: str

    def database_password(self, service: str) -> str:
        """Return the password of a service's role in PostgreSQL."""
        return str(getattr(self, f"{service}_database_password"))


def load_or_create_secrets(path: Path) -> StackSecrets:
    """Return the secrets in `path` (mode 0600); what is missing there is made and written."""
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    wanted = StackSecrets(
        **{field.name: known.get(field.name) or secrets.token_urlsafe(_SECRET_BYTES) for field in fields(StackSecrets)}
    )
    if asdict(wanted) != known:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(wanted), indent=2) + "\n")
    return wanted
