"""Deployment files as their users would see them: rendered, with secrets made by the project's own script."""

from __future__ import annotations

import importlib
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from posthorn_common.cli import ServiceCommands
from posthorn_local.environment import SERVICES
from posthorn_local.paths import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
Manifest = dict[str, Any]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "service" in metafunc.fixturenames:
        metafunc.parametrize("service", SERVICES)
    if "overlay" in metafunc.fixturenames:
        metafunc.parametrize("overlay", ("dev", "prod"))


@pytest.fixture(scope="session")
def make_env() -> dict[str, Any]:
    """The names in deploy/make_env.py, which is a script and no module."""
    return runpy.run_path(str(DEPLOY / "make_env.py"))


@pytest.fixture(scope="session")
def commands() -> Callable[[str], ServiceCommands[Any]]:
    """What a service's command line is made from, by the service's name."""

    def commands_of(service: str) -> ServiceCommands[Any]:
        found = importlib.import_module(f"posthorn_{service}.entrypoints.cli").COMMANDS
        assert isinstance(found, ServiceCommands)
        return found

    return commands_of


@pytest.fixture(scope="session")
def variables(commands) -> Callable[[str], tuple[set[str], set[str]]]:
    """The environment variables that a service must have, and those that it knows."""

    def variables_of(service: str) -> tuple[set[str], set[str]]:
        settings = commands(service).settings
        prefix = settings.model_config["env_prefix"]
        assert prefix == f"POSTHORN_{service.upper()}_"
        fields = settings.model_fields
        required = {prefix + name.upper() for name, field in fields.items() if field.is_required()}
        return required, {prefix + name.upper() for name in fields}

    return variables_of


@pytest.fixture(scope="session")
def load(commands) -> Callable[[str, dict[str, str]], Any]:
    """Validate a whole environment as the service would at its start; return the settings."""

    def load_settings(service: str, environment: dict[str, str]) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return commands(service).settings()

    return load_settings


@pytest.fixture(scope="session")
def kubernetes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/k8s with secrets for the dev overlay."""
    deploy = tmp_path_factory.mktemp("checkout") / "deploy"
    for name in ("k8s", "sql"):
        shutil.copytree(DEPLOY / name, deploy / name, ignore=shutil.ignore_patterns("secrets"))
    script = shutil.copy(DEPLOY / "make_env.py", deploy)
    subprocess.run([sys.executable, script, "k8s-dev"], check=True)
    return deploy / "k8s"


@pytest.fixture(scope="session")
def render(kubernetes_folder) -> Callable[[str], list[Manifest]]:
    """Render a kustomization (`overlays/dev`, `base`) with kubectl."""
    rendered: dict[str, list[Manifest]] = {}

    def manifests_of(name: str) -> list[Manifest]:
        if name not in rendered:
            kubectl = Path(sys.executable).with_name("kubectl")
            command = [kubectl, "kustomize", str(kubernetes_folder / name)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr
            assert not result.stderr, "kustomize warns"
            rendered[name] = list(yaml.safe_load_all(result.stdout))
        return rendered[name]

    return manifests_of


@pytest.fixture
def manifests(render, overlay) -> list[Manifest]:
    """All objects of an overlay."""
    return render(f"overlays/{overlay}")


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file with its anchors resolved, its variables not."""
    document = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    assert isinstance(document, dict)
    return document
