#!/usr/bin/env python3
"""Writes the random passwords and keys of a deployment, once: files that exist are left as they are.

    make_env.py compose    deploy/compose/.env
    make_env.py k8s-dev    deploy/k8s/overlays/dev/secrets/*.env, one file per Secret

Keep what it writes: the keys decrypt what is in the database.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

DEPLOY = Path(__file__).parent
SCHEMA_OWNERS = ("auth", "campaigns", "mailer", "analytics")
SERVICES = (*SCHEMA_OWNERS, "gateway")
SECRET_NAMES = (
    "POSTGRES_PASSWORD",
    *(f"{service.upper()}_DATABASE_PASSWORD" for service in SCHEMA_OWNERS),
    "REDIS_PASSWORD",
    "RABBITMQ_PASSWORD",
    "GRAFANA_PASSWORD",
    "INTERNAL_SECRET",
    "LINK_SECRET",
    "AUTH_ENCRYPTION_KEY",
    "MAILER_ENCRYPTION_KEY",
)
OWN_SECRETS: Mapping[str, tuple[str, ...]] = {
    "auth": ("AUTH_ENCRYPTION_KEY",),
    "campaigns": ("LINK_SECRET",),
    "mailer": ("MAILER_ENCRYPTION_KEY", "LINK_SECRET"),
    "analytics": ("LINK_SECRET",),
    "gateway": (),
}


def new_secrets() -> dict[str, str]:
    """Return fresh secrets: 32 random bytes each, base64url."""
    return {name: _random() for name in SECRET_NAMES}


def _random() -> str:
    # On a command line a leading dash would look like an option.
    while (value := secrets.token_urlsafe(32)).startswith("-"):
        pass
    return value


def compose_files(values: Mapping[str, str]) -> dict[Path, Mapping[str, str]]:
    """Return what compose.yaml interpolates."""
    return {DEPLOY / "compose" / ".env": values}


def k8s_dev_files(values: Mapping[str, str]) -> dict[Path, Mapping[str, str]]:
    """Return the Secrets of the dev overlay: one per service, in the service's own variables, and the servers' own."""
    folder = DEPLOY / "k8s" / "overlays" / "dev" / "secrets"
    files: dict[Path, Mapping[str, str]] = {
        folder / f"{service}.env": _service_secret(service, values) for service in SERVICES
    }
    passwords = {f"{owner}_password": values[f"{owner.upper()}_DATABASE_PASSWORD"] for owner in SCHEMA_OWNERS}
    files[folder / "provision.env"] = {
        "PGPASSWORD": values["POSTGRES_PASSWORD"],
        "PGOPTIONS": " ".join(f"-c posthorn.{name}={value}" for name, value in passwords.items()),
    }
    files[folder / "postgres.env"] = {"POSTGRES_PASSWORD": values["POSTGRES_PASSWORD"]}
    files[folder / "valkey.env"] = {"REDIS_PASSWORD": values["REDIS_PASSWORD"]}
    files[folder / "rabbitmq.env"] = {"RABBITMQ_DEFAULT_PASS": values["RABBITMQ_PASSWORD"]}
    return files


def _service_secret(service: str, values: Mapping[str, str]) -> dict[str, str]:
    named = {
        "AMQP_URL": f"amqp://posthorn:{values['RABBITMQ_PASSWORD']}@rabbitmq:5672/",
        "REDIS_URL": f"redis://:{values['REDIS_PASSWORD']}@valkey:6379/0",
        "INTERNAL_SECRET": values["INTERNAL_SECRET"],
    }
    if service in SCHEMA_OWNERS:
        password = values[f"{service.upper()}_DATABASE_PASSWORD"]
        named["DATABASE_URL"] = f"postgresql+asyncpg://posthorn_{service}:{password}@postgres:5432/posthorn"
    for name in OWN_SECRETS[service]:
        named[name.removeprefix(f"{service.upper()}_")] = values[name]
    return {f"POSTHORN_{service.upper()}_{name}": value for name, value in named.items()}


TARGETS = {"compose": compose_files, "k8s-dev": k8s_dev_files}


def main(arguments: list[str] | None = None) -> int:
    """Write the files of one target, readable for their owner only; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the secrets of a deployment, once.")
    parser.add_argument("target", choices=TARGETS)
    files = TARGETS[parser.parse_args(arguments).target](new_secrets())
    existing = [path for path in files if path.exists()]
    if existing and len(existing) < len(files):
        # New values beside old ones would not fit together.
        missing = sorted(path.name for path in files.keys() - existing)
        sys.stderr.write(f"{existing[0].parent} is incomplete: {', '.join(missing)} missing. Restore or delete all.\n")
        return 1
    if not existing:
        _write_all(files.items())
    return 0


def _write_all(files: Iterable[tuple[Path, Mapping[str, str]]]) -> None:
    for path, values in files:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write("# Made by deploy/make_env.py. Keep it: the keys decrypt what is in the database.\n")
            out.writelines(f"{name}={value}\n" for name, value in values.items())


if __name__ == "__main__":
    raise SystemExit(main())
