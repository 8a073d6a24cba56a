"""The steps that make an image, run in a clean environment: each service installs and runs from its own requirements.

Slow: about half a minute per service. pip's cache keeps what it has downloaded and built.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from posthorn_local.environment import SERVICES, ServerUrls, service_environment
from posthorn_local.paths import REPOSITORY
from posthorn_local.ports import free_ports
from posthorn_local.provisioning import SCHEMA_OWNERS
from posthorn_local.secrets_file import load_or_create_secrets

pytestmark = pytest.mark.slow

_IMPORT_ALL = """
import importlib, json, pkgutil, sys
import posthorn_common, posthorn_contracts
package = importlib.import_module(sys.argv[1])
for root in (package, posthorn_common, posthorn_contracts):
    for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
        # `env` and `versions` are scripts that Alembic loads; `testing` needs nothing, and is for tests.
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules if name.startswith("posthorn_")})))
"""


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Install a service as its image does; return the folder of its commands."""
    installed: dict[str, Path] = {}

    def install_service(service: str) -> Path:
        if service not in installed:
            venv = tmp_path_factory.mktemp(service) / "venv"
            result = subprocess.run(
                [REPOSITORY / "deploy" / "image" / "install.sh", service, venv],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, result.stdout + result.stderr
            installed[service] = venv / "bin"
        return installed[service]

    return install_service


def run(command: list[Any], environment: dict[str, str] | None = None) -> str:
    """Run a command with no other environment than this, outside of the checkout."""
    clean = {"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8", **(environment or {})}
    result = subprocess.run(command, cwd="/", env=clean, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_service_describes_itself(install, commands, service):
    program = install(service) / f"posthorn-{service}"

    settings = run([program, "settings"])
    document = json.loads(run([program, "openapi"]))

    for name in commands(service).settings.model_fields:
        assert f"`POSTHORN_{service.upper()}_{name.upper()}`" in settings
    assert document == json.loads(json.dumps(commands(service).openapi()))


def test_everything_that_a_service_imports_is_installed_and_nothing_of_others(install, service):
    found = json.loads(run([install(service) / "python", "-c", _IMPORT_ALL, f"posthorn_{service}"]))

    assert found == sorted(["posthorn_common", "posthorn_contracts", f"posthorn_{service}"])
    packages = json.loads(run([install(service) / "pip", "list", "--format=json", "--disable-pip-version-check"]))
    ours = {package["name"] for package in packages if package["name"].startswith("posthorn")}
    assert ours == {"posthorn-common", "posthorn-contracts", f"posthorn-{service}"}


def test_what_is_missing_from_the_environment_is_named(install, variables, service):
    required, _known = variables(service)

    result = subprocess.run(
        [install(service) / f"posthorn-{service}", "run"], cwd="/", env={}, capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    # The image itself sets the port.
    assert {line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]} == required


@pytest.fixture(scope="module")
def environments(
    make_database: Any, redis_url: str, amqp_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """The environment of each service, on the test servers."""
    secrets = load_or_create_secrets(tmp_path_factory.mktemp("secrets") / "secrets.json")
    return {
        service: service_environment(
            service,
            ports=dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True)),
            servers=ServerUrls(postgres_admin="", redis=redis_url, amqp=amqp_url),
            database_urls={owner: make_database(owner) for owner in SCHEMA_OWNERS if owner == service},
            secrets=secrets,
        )
        for service in SERVICES
    }


@pytest.fixture(scope="module")
def confined() -> list[str]:
    """What to put before a command so that it has a container's rights: read-only root, no capabilities.

    Only root can take rights away like this; for others the list is empty.
    """
    script = """
        mount --make-rprivate / && mount -o remount,ro,bind / && mount -t tmpfs tmpfs /mnt
        if touch /writable 2>/dev/null; then exit 9; fi
        export TMPDIR=/mnt
        exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
    """
    prefix = ["unshare", "--mount", "sh", "-ec", script, "confined"]
    return prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else []


@pytest.fixture
def running(
    install, environments, confined, commands, service, tmp_path
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A migrated, started service with the rights that its container has, and its address."""
    program, environment = install(service) / f"posthorn-{service}", environments[service]
    if commands(service).migrations is not None:
        run([*confined, program, "migrate"], environment)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*confined, program, "run"], cwd="/", env=environment, stdout=log, stderr=log)
        try:
            yield process, f"http://127.0.0.1:{environment[f'POSTHORN_{service.upper()}_PORT']}"
        finally:
            process.kill()
            process.wait()


@pytest.mark.integration
def test_a_service_starts_from_its_own_requirements_and_ends_when_asked(running, service, tmp_path):
    process, address = running

    while (answer := get(f"{address}/health/live")) is None:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)

    assert answer.json() == {"service": service, "status": "ok"}
    assert process.wait(60) == 0, (tmp_path / "log").read_text()


def get(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url)
    except httpx.TransportError:
        return None
