"""What kustomize renders from deploy/k8s, against Kubernetes' schemas and against the code."""

from __future__ import annotations

import base64
import json
import re
import subprocess

import kubernetes_validate
import pytest

from posthorn_common.db import create_engine
from posthorn_common.http.app import AppParts, create_app
from posthorn_local.environment import SERVICES
from posthorn_local.paths import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "k8s"
KUBERNETES = "1.37"
WRITABLE_ROOTS = {"rabbitmq"}  # dev only
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"


def of_kind(manifests, *kinds):
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def workloads(manifests):
    return of_kind(manifests, "Deployment", "StatefulSet", "Job")


def pod(workload):
    return workload["spec"]["template"]["spec"]


def labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def ours(manifests, service=None):
    """Workloads that run one of our images."""
    return [
        workload
        for workload in workloads(manifests)
        if labels(workload).get("app.kubernetes.io/part-of") == "posthorn" and service in {None, labels(workload)[NAME]}
    ]


def container(workload):
    (only,) = pod(workload)["containers"]
    return only


def matches(selector, workload):
    return selector.items() <= labels(workload).items()


def config(manifests, service):
    """The ConfigMap and, in dev, the Secret that the pods of a service name."""
    names = {
        (kind, source[reference]["name"])
        for workload in ours(manifests, service)
        for source in container(workload)["envFrom"]
        for kind, reference in (("ConfigMap", "configMapRef"), ("Secret", "secretRef"))
        if reference in source
    }
    assert len(names) == 2, names
    found = {m["kind"]: m["data"] for m in manifests if (m["kind"], m["metadata"]["name"]) in names}
    secret = {key: base64.b64decode(value).decode() for key, value in found.get("Secret", {}).items()}
    return found["ConfigMap"], secret, dict(names)["Secret"]


def documented_secrets():
    """The table of Secrets in the README."""
    rows = re.findall(
        r"^\| `(posthorn-\w+)` \| ((?:`POSTHORN_\w+` ?)+) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    return {name: set(re.findall(r"`(\w+)`", keys)) for name, keys in rows}


def test_every_object_is_valid(manifests):
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_no_object_is_there_twice_and_all_are_in_the_overlays_namespace(manifests, overlay):
    namespace = {"dev": "posthorn-dev", "prod": "posthorn"}[overlay]
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]

    assert len(set(names)) == len(names)
    assert {m["metadata"].get("namespace") for m in manifests if m["kind"] != "Namespace"} == {namespace}


def test_commands_and_roles_are_those_of_the_code(manifests, commands):
    for workload in ours(manifests):
        service = labels(workload)[NAME]
        command, *options = container(workload)["args"]
        assert command == ("migrate" if workload["kind"] == "Job" else "run")
        if options:
            assert options[0] == "--roles"
            assert set(options[1].split(",")) <= set(commands(service).roles), workload["metadata"]["name"]


def test_every_role_runs_in_exactly_one_deployment(manifests, commands, service):
    roles = []
    for workload in ours(manifests, service):
        if workload["kind"] == "Deployment":
            options = container(workload)["args"][1:]
            roles += options[1].split(",") if options else commands(service).roles

    assert sorted(roles) == sorted(commands(service).roles)


def test_every_service_with_a_schema_has_a_migration(manifests, commands, service):
    jobs = [workload for workload in ours(manifests, service) if workload["kind"] == "Job"]

    assert len(jobs) == (0 if commands(service).migrations is None else 1)


def test_services_get_all_variables_that_they_need_and_none_that_they_do_not_know(manifests, variables, service):
    required, known = variables(service)
    plain, secret, secret_name = config(manifests, service)
    secret_keys = secret.keys() or documented_secrets()[secret_name]

    assert plain.keys().isdisjoint(secret_keys)
    assert required <= plain.keys() | secret_keys <= known


def test_services_accept_the_values_of_the_dev_overlay(render, load, service):
    plain, secret, _name = config(render("overlays/dev"), service)

    settings = load(service, {**plain, **secret})

    assert settings.environment == "development"
    assert settings.public_base == settings.token_issuer == "http://127.0.0.1:8080"


def test_the_dev_overlay_makes_the_documented_secrets(render, service):
    _plain, secret, _name = config(render("overlays/dev"), service)

    assert secret.keys() == documented_secrets()[f"posthorn-{service}"]


@pytest.mark.parametrize("name", ["base", "overlays/prod"])
def test_no_secret_is_in_the_repository(render, name):
    assert of_kind(render(name), "Secret") == []
    assert not re.search(r"://[^/\s]*:[^/\s]*@", str(render(name)))


def test_production_runs_as_production_with_its_public_url(render, service):
    plain, _secret, secret_name = config(render("overlays/prod"), service)
    prefix = f"POSTHORN_{service.upper()}_"

    assert plain[f"{prefix}ENVIRONMENT"] == "production"
    assert plain[f"{prefix}PUBLIC_URL"] == plain[f"{prefix}TOKEN_ISSUER"] == "https://posthorn.example.com"
    # No suffix: whoever makes the Secret knows its name.
    assert secret_name == f"posthorn-{service}"


def test_images_are_ours_and_pinned_by_digest_in_production(render):
    images = {container(workload)["image"] for workload in ours(render("overlays/prod"))}

    assert len(images) == len(SERVICES)
    for image in images:
        service = re.fullmatch(r"registry\.example\.com/posthorn/(\w+)@sha256:[0-9a-f]{64}", image)
        assert service is not None, image
        assert (REPOSITORY / "services" / service[1] / "Dockerfile").exists()


def test_ports_and_probes_are_those_that_the_service_serves(manifests):
    for workload in ours(manifests):
        if workload["kind"] == "Job":
            continue
        spec, service = container(workload), labels(workload)[NAME]
        plain, _secret, _name = config(manifests, service)
        assert spec["ports"] == [{"name": "http", "containerPort": int(plain[f"POSTHORN_{service.upper()}_PORT"])}]
        probes = {kind: spec[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
        assert probes == {
            "startup": {"path": "/health/live", "port": "http"},
            "liveness": {"path": "/health/live", "port": "http"},
            "readiness": {"path": "/health/ready", "port": "http"},
        }


def test_the_health_routes_exist(service):
    app = create_app(AppParts(service=service, title=service, description="", routers=()))

    assert (app.url_path_for("live"), app.url_path_for("ready")) == ("/health/live", "/health/ready")


def test_pods_have_time_to_finish(manifests, commands):
    for workload in ours(manifests):
        if workload["kind"] == "Job":
            continue
        settings = commands(labels(workload)[NAME]).settings
        grace = settings.model_fields["shutdown_grace_seconds"].default
        pause = container(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod(workload)["terminationGracePeriodSeconds"] >= pause + grace + 5


def test_pods_have_few_rights(manifests):
    for workload in workloads(manifests):
        name, spec = workload["metadata"]["name"], pod(workload)
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC"}), name
        assert {kind for volume in spec.get("volumes", ()) for kind in volume} <= {"name", "emptyDir", "configMap"}
        rights = container(workload)["securityContext"]
        assert rights["allowPrivilegeEscalation"] is False, name
        assert rights["capabilities"] == {"drop": ["ALL"]}, name
        assert rights.get("readOnlyRootFilesystem", False) is (name not in WRITABLE_ROOTS), name


def test_our_pods_run_as_the_images_user(manifests):
    users = {pod(workload)["securityContext"]["runAsUser"] for workload in ours(manifests)}

    assert users == {10001}


def test_namespaces_enforce_the_restricted_profile(manifests):
    (namespace,) = of_kind(manifests, "Namespace")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_container_has_requests_and_a_memory_limit(manifests):
    for workload in workloads(manifests):
        resources = container(workload)["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}, workload["metadata"]["name"]
        assert "memory" in resources["limits"], workload["metadata"]["name"]


def test_every_service_object_selects_one_workload_and_its_port(manifests):
    for service in of_kind(manifests, "Service"):
        (selected,) = [workload for workload in workloads(manifests) if matches(service["spec"]["selector"], workload)]
        ports = {port["containerPort"] for port in container(selected)["ports"]}
        ports |= {port["name"] for port in container(selected)["ports"]}
        for port in service["spec"]["ports"]:
            assert port.get("targetPort", port["port"]) in ports


def test_addresses_of_neighbours_are_service_objects(manifests, service):
    plain, secret, _name = config(manifests, service)
    services = {s["metadata"]["name"]: {p["port"] for p in s["spec"]["ports"]} for s in of_kind(manifests, "Service")}
    addresses = [
        re.fullmatch(r"[a-z+]+://(?:[^@/]*@)?([^:/]+):(\d+)(?:/.*)?", value)
        for key, value in {**plain, **secret}.items()
        if key.endswith("_URL") and not key.endswith("PUBLIC_URL")
    ]

    assert addresses
    for address in addresses:
        assert address is not None
        assert int(address[2]) in services[address[1]], address[0]


def test_every_deployment_selects_only_its_own_pods(manifests):
    for owner in of_kind(manifests, "Deployment", "StatefulSet", "PodDisruptionBudget"):
        selector = owner["spec"]["selector"]["matchLabels"]
        selected = [w["metadata"]["name"] for w in workloads(manifests) if matches(selector, w)]
        assert selected == [owner["metadata"]["name"]]


def test_every_deployment_of_ours_has_a_disruption_budget(manifests):
    deployments = {w["metadata"]["name"] for w in ours(manifests) if w["kind"] == "Deployment"}

    assert {budget["metadata"]["name"] for budget in of_kind(manifests, "PodDisruptionBudget")} == deployments


def test_who_is_scaled_by_load_has_no_fixed_number_of_replicas(render):
    manifests = render("overlays/prod")
    deployments = {w["metadata"]["name"]: w for w in of_kind(manifests, "Deployment")}
    scaled = set()
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        assert "replicas" not in deployments[target]["spec"]
        assert 1 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
        scaled.add(target)

    assert {name for name, d in deployments.items() if "replicas" not in d["spec"]} == scaled
    assert "mailer-worker" in scaled


def test_dev_has_one_of_everything(render):
    manifests = render("overlays/dev")

    assert {w["spec"].get("replicas", 1) for w in of_kind(manifests, "Deployment", "StatefulSet")} == {1}
    assert of_kind(manifests, "HorizontalPodAutoscaler") == []


def ingress_paths(render):
    (ingress,) = of_kind(render("overlays/prod"), "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "posthorn.example.com"
    assert ingress["spec"]["tls"][0]["hosts"] == ["posthorn.example.com"]
    for path in rule["http"]["paths"]:
        assert path["backend"]["service"] == {"name": "gateway", "port": {"name": "http"}}
    return [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]


def admits(paths, path):
    return any(path == known or (kind == "Prefix" and path.startswith(known + "/")) for known, kind in paths)


def test_the_ingress_admits_every_public_route_and_no_other(render, commands):
    paths = ingress_paths(render)
    routes = {route for service in SERVICES for route in commands(service).openapi()["paths"]}
    public = {route for route in routes if not route.startswith("/internal/")}

    assert {route for route in public if not admits(paths, route)} == set()
    for private in ("/metrics", "/health/ready", "/internal/api-keys/exchange", "/"):
        assert not admits(paths, private), private


def test_the_ingress_admits_the_largest_file_that_is_imported(render, commands):
    (ingress,) = of_kind(render("overlays/prod"), "Ingress")
    limit = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]

    assert limit.endswith("m")
    largest = commands("campaigns").settings.model_fields["import_max_bytes"].default
    assert int(limit.removesuffix("m")) * 1024 * 1024 >= largest


def test_behind_the_ingress_the_gateway_sees_the_clients_own_addresses(render):
    plain, _secret, _name = config(render("overlays/prod"), "gateway")

    networks = json.loads(plain["POSTHORN_GATEWAY_TRUSTED_PROXIES"])
    assert networks
    assert "0.0.0.0/0" not in networks


def test_the_readme_says_how_many_connections_postgresql_must_bear(render, commands):
    manifests = render("overlays/prod")
    replicas = {w["metadata"]["name"]: w["spec"].get("replicas", 1) for w in of_kind(manifests, "Deployment")}
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        replicas[scaler["spec"]["scaleTargetRef"]["name"]] = scaler["spec"]["maxReplicas"]
    size = commands("auth").settings.model_fields["database_pool_size"].default
    engine = create_engine("postgresql+asyncpg://nobody@127.0.0.1/none", application_name="none", pool_size=size)
    per_process = engine.pool.size() + engine.pool._max_overflow

    total = sum(count for name, count in replicas.items() if name != "gateway") * per_process
    assert f"lets it, {total} in all" in (FOLDER / "README.md").read_text()


def test_rolling_out_goes_through_steps_that_exist(manifests, overlay):
    steps = {m["metadata"].get("labels", {}).get("posthorn/step") for m in manifests}

    assert steps == {None, "configure", "migrate"} | ({"provision"} if overlay == "dev" else set())
    for manifest in of_kind(manifests, "ConfigMap", "Secret", "StatefulSet", "Namespace"):
        assert manifest["metadata"]["labels"]["posthorn/step"] == "configure"
    assert {m["metadata"]["labels"]["posthorn/step"] for m in of_kind(manifests, "Job")} == steps - {None, "configure"}
    script = (FOLDER / "rollout.sh").read_text()
    assert "for step in provision migrate" in script
    assert subprocess.run(["sh", "-n", FOLDER / "rollout.sh"], check=False).returncode == 0


def test_the_provision_job_runs_the_projects_own_file(render):
    scripts = [m["data"] for m in render("overlays/dev") if m["metadata"]["name"].startswith("provision-sql")]

    assert scripts == [{"provision.sql": (REPOSITORY / "deploy" / "sql" / "provision.sql").read_text()}]
