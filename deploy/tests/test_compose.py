"""deploy/compose/compose.yaml against the Compose Specification and against the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest

from posthorn_local.environment import SERVICES
from posthorn_local.paths import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "compose"
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::-(?P<default>(?:[^{}]|\$\{[^{}]*\})*))?\}")


def own_containers(compose):
    """Containers that run one of our images, with the service's name."""
    return {
        name: (container, container["image"].removeprefix("posthorn-"))
        for name, container in compose["services"].items()
        if container["image"].startswith("posthorn-")
    }


def interpolate(text, values):
    def value(match):
        if match["name"] in values:
            return values[match["name"]]
        assert match["default"] is not None, f"nobody sets {match['name']}"
        return interpolate(match["default"], values)

    return VARIABLE.sub(value, text)


@pytest.fixture(scope="module")
def environments(compose, make_env):
    values = make_env["new_secrets"]()
    return {
        name: {key: interpolate(text, values) for key, text in container["environment"].items()}
        for name, (container, _service) in own_containers(compose).items()
    }


def test_the_file_is_a_valid_compose_file(compose):
    schema = json.loads((Path(__file__).parent / "data" / "compose-spec.json").read_text())

    errors = sorted(jsonschema.Draft7Validator(schema).iter_errors(compose), key=str)

    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_every_variable_is_made_by_the_script_or_has_a_default(make_env):
    text = (FOLDER / "compose.yaml").read_text()
    named = {match["name"] for match in VARIABLE.finditer(text) if match["default"] is None}

    assert named == set(make_env["SECRET_NAMES"])


def test_commands_and_roles_are_those_of_the_code(compose, commands):
    known = {"run", "migrate"}
    for name, (container, service) in own_containers(compose).items():
        command, *options = container["command"]
        assert command in known, name
        if options:
            assert options[0] == "--roles"
            assert set(options[1].split(",")) <= set(commands(service).roles), name


def test_every_role_of_a_service_runs_somewhere(compose, commands, service):
    running = set()
    for container, owner in own_containers(compose).values():
        if owner == service and container["command"][0] == "run":
            options = container["command"][1:]
            running |= set(options[1].split(",")) if options else set(commands(service).roles)

    assert running == set(commands(service).roles)


def test_every_service_with_a_schema_is_migrated(compose, commands, service):
    migrates = f"{service}-migrate" in compose["services"]

    assert migrates == (commands(service).migrations is not None)


def test_services_get_all_variables_that_they_need_and_none_that_they_do_not_know(compose, variables, service):
    required, known = variables(service)
    for name, (container, owner) in own_containers(compose).items():
        if owner == service:
            assert required <= container["environment"].keys() <= known, name


def test_services_accept_the_values_that_they_get(compose, environments, load, service):
    for name, (_container, owner) in own_containers(compose).items():
        if owner == service:
            assert load(service, environments[name]).port == 8000


def test_services_agree_on_what_they_share(environments):
    def shared(name):
        return {
            value
            for environment in environments.values()
            for key, value in environment.items()
            if key.endswith(f"_{name}")
        }

    for name in ("INTERNAL_SECRET", "LINK_SECRET", "JWKS_URL", "REDIS_URL", "AMQP_URL"):
        assert len(shared(name)) == 1, name
    assert shared("TOKEN_ISSUER") == shared("PUBLIC_URL") == {"http://127.0.0.1:8080"}
    assert len(shared("ENCRYPTION_KEY")) == 2


def test_the_public_url_follows_the_gateways_port(compose):
    text = compose["services"]["gateway"]["environment"]["POSTHORN_GATEWAY_PUBLIC_URL"]

    assert interpolate(text, {"GATEWAY_PORT": "9000"}) == "http://127.0.0.1:9000"
    assert interpolate(text, {"PUBLIC_URL": "https://mail.example.com"}) == "https://mail.example.com"


def test_whoever_calls_somebody_shares_a_network_with_them(compose, environments):
    ports = {"postgres": 5432, "valkey": 6379, "rabbitmq": 5672} | dict.fromkeys(SERVICES, 8000)
    for name, environment in environments.items():
        networks = set(compose["services"][name]["networks"])
        for key, value in environment.items():
            url = urlsplit(value)
            only_settings = name.endswith("-migrate") and not key.endswith("_DATABASE_URL")
            if only_settings or not url.netloc or url.hostname == "127.0.0.1":
                continue
            assert networks & set(compose["services"][url.hostname]["networks"]), (name, key)
            assert url.port == ports[url.hostname], (name, key)


@pytest.mark.parametrize("other", ["postgres", "mailpit", "grafana"])
def test_the_gateway_cannot_reach_what_it_does_not_need(compose, other):
    assert not set(compose["services"]["gateway"]["networks"]) & set(compose["services"][other]["networks"])


def test_files_that_are_mounted_exist(compose):
    mounts = [
        volume.split(":") for container in compose["services"].values() for volume in container.get("volumes", ())
    ]
    assert mounts
    for source, *_target in mounts:
        if source.startswith("."):
            assert (FOLDER / source).exists(), source
            assert _target[-1] == "ro", source
        else:
            assert source in compose["volumes"]


def test_one_container_builds_each_image_and_the_others_wait_for_it(compose):
    for name, (container, service) in own_containers(compose).items():
        if name == service:
            build = container["build"]
            assert (FOLDER / build["context"] / build["dockerfile"]).samefile(
                REPOSITORY / "services" / service / "Dockerfile"
            )
            assert container["pull_policy"] == "build"
        else:
            # Nobody else's image of that name must ever be pulled.
            assert "build" not in container
            assert container["pull_policy"] == "never"


def test_containers_that_end_are_waited_for_by_others(compose):
    # `docker compose up --wait` takes any other container that ends for a failure.
    ending = {name for name, container in compose["services"].items() if container.get("restart") == "no"}
    awaited = {
        dependency
        for container in compose["services"].values()
        for dependency, how in container.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }

    assert ending == awaited == {"provision", *(f"{s}-migrate" for s in SERVICES if s != "gateway")}


def test_who_is_waited_for_has_a_health_check(compose):
    for name, container in compose["services"].items():
        for dependency, how in container.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                other = compose["services"][dependency]
                # Our images have theirs in the Dockerfile.
                assert "healthcheck" in other or other["image"].startswith("posthorn-"), (name, dependency)


def test_containers_have_few_rights(compose):
    for name, container in compose["services"].items():
        assert "no-new-privileges:true" in container["security_opt"], name
        assert container.keys().isdisjoint({"privileged", "cap_add", "network_mode", "pid", "ipc"}), name
        if name in {"postgres", "valkey", "rabbitmq"}:
            continue  # their own entry points prepare volumes as root, then give root up
        assert container["read_only"] is True, name
        assert container["cap_drop"] == ["ALL"], name


def test_ports_are_published_on_loopback_only(compose):
    published = {name: c["ports"] for name, c in compose["services"].items() if "ports" in c}

    assert published.keys() == {"gateway", "mailpit", "prometheus", "grafana"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)


def test_a_container_gets_longer_to_stop_than_its_service_takes(compose, environments, load, service):
    for name, (container, owner) in own_containers(compose).items():
        if owner == service:
            grace = load(service, environments[name]).shutdown_grace_seconds
            assert float(container["stop_grace_period"].removesuffix("s")) > grace, name
