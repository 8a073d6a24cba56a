#!/usr/bin/env python3
"""Writes deploy/compose/.env with random passwords and keys, once: an existing file is left as it is."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

NAMES = (
    "POSTGRES_PASSWORD",
    "AUTH_DATABASE_PASSWORD",
    "CAMPAIGNS_DATABASE_PASSWORD",
    "MAILER_DATABASE_PASSWORD",
    "ANALYTICS_DATABASE_PASSWORD",
    "REDIS_PASSWORD",
    "RABBITMQ_PASSWORD",
    "GRAFANA_PASSWORD",
    "INTERNAL_SECRET",
    "LINK_SECRET",
    "AUTH_ENCRYPTION_KEY",
    "MAILER_ENCRYPTION_KEY",
)


def main() -> None:
    """Write the file, readable for its owner only."""
    path = Path(__file__).with_name(".env")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as out:
        out.write("# Made by make_env.py. Keep it: the keys decrypt what is in the database.\n")
        for name in NAMES:
            out.write(f"{name}={secrets.token_urlsafe(32)}\n")


if __name__ == "__main__":
    main()
