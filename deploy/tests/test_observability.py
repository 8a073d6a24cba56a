"""Alerts and dashboards ask only for metrics and labels that the code has, and Prometheus for addresses that exist."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import promql_parser
import pytest
import yaml
from fastapi import APIRouter
from prometheus_client.parser import text_string_to_metric_families

from posthorn_common.http.app import AppParts, create_app
from posthorn_local.environment import SERVICES
from posthorn_local.paths import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "observability"
PROCESSES = (*SERVICES, "mailer-worker")
FROM_PROMETHEUS = {"job", "instance"}
# What Prometheus itself and the blackbox exporter say.
OTHERS = {"up": set(), "ALERTS": {"alertstate", "alertname"}, "probe_success": {"service"}}
SUFFIXES = {"Counter": ("",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}


def sources() -> Iterator[Path]:
    for pattern in ("libs/*/src/**/*.py", "services/*/src/**/*.py"):
        yield from sorted(REPOSITORY.glob(pattern))


def defined_in(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Series that a source file defines, with their labels."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in SUFFIXES:
            continue
        if not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        given = [*node.args[2:3], *(keyword.value for keyword in node.keywords if keyword.arg == "labelnames")]
        labels = set(ast.literal_eval(given[0])) if given else set()
        for suffix in SUFFIXES[node.func.id]:
            yield f"{node.args[0].value}{suffix}", labels | ({"le"} if suffix == "_bucket" else set())


@pytest.fixture(scope="module")
def own_series() -> dict[str, set[str]]:
    return {name: labels for path in sources() for name, labels in defined_in(path)}


@pytest.fixture(scope="module")
def http_series() -> dict[str, set[str]]:
    """Series that every service has from the libraries, as it serves them."""
    router = APIRouter()

    @router.get("/here")
    async def here() -> None: ...

    app = create_app(AppParts(service="any", title="any", description="", routers=(router,)))

    async def served() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://any") as client:
            await client.get("/here")
            return (await client.get("/metrics")).text

    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(asyncio.run(served()))
        for sample in family.samples
        if not sample.name.startswith("posthorn_")
    }


@pytest.fixture(scope="module")
def series(own_series, http_series) -> dict[str, set[str]]:
    return {**http_series, **own_series, **OTHERS}


@pytest.fixture(scope="module")
def rules() -> list[dict]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def dashboard() -> dict:
    return json.loads((FOLDER / "grafana" / "dashboards" / "posthorn.json").read_text())


@pytest.fixture(scope="module")
def prometheus() -> dict:
    return yaml.safe_load((FOLDER / "prometheus.yml").read_text())


@pytest.fixture(scope="module")
def queries(rules, dashboard) -> dict[str, str]:
    """All PromQL by where it stands."""
    found = {rule["alert"]: rule["expr"] for rule in rules}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        found[annotation["name"]] = annotation["expr"]
    assert len(found) > 40
    # Grafana puts durations in.
    return {place: text.replace("$__rate_interval", "1m").replace("$__range", "30m") for place, text in found.items()}


def selectors_and_grouping(expression: str) -> tuple[list[promql_parser.VectorSelector], set[str]]:
    selectors, labels = [], set()

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)
        modifier = getattr(node, "modifier", None)
        if isinstance(node, promql_parser.AggregateExpr) and modifier:
            labels.update(modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and modifier and modifier.matching:
            labels.update(modifier.matching.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return selectors, labels


def test_every_query_asks_for_metrics_and_labels_that_exist(queries, series):
    wrong = []
    for place, expression in queries.items():
        selectors, grouping = selectors_and_grouping(expression)
        assert selectors, place
        for selector in selectors:
            if selector.name not in series:
                wrong.append(f"{place}: there is no {selector.name}")
                continue
            known = series[selector.name] | FROM_PROMETHEUS
            named = {matcher.name for matcher in selector.matchers.matchers}
            wrong += [f"{place}: {selector.name} has no label {label}" for label in sorted((named | grouping) - known)]

    assert wrong == []


def test_a_metric_that_does_not_exist_would_be_found(series):
    (selector,), grouping = selectors_and_grouping('sum by (queue) (rate(posthorn_jobs_lost_total{kind="a"}[5m]))')

    assert selector.name not in series
    assert grouping == {"queue"}


def test_series_are_read_from_the_code(own_series):
    assert own_series["posthorn_jobs_waiting"] == {"queue"}
    assert own_series["posthorn_event_handle_seconds_bucket"] == {"consumer", "event_type", "le"}
    assert own_series["posthorn_mailer_deliveries_total"] == {"outcome"}


def test_outcomes_that_queries_name_exist(queries):
    from posthorn_contracts.mailer.v1 import DeliveryOutcome

    known = {outcome.value for outcome in DeliveryOutcome}
    for place, expression in queries.items():
        for selector in selectors_and_grouping(expression)[0]:
            if selector.name == "posthorn_mailer_deliveries_total":
                for matcher in selector.matchers.matchers:
                    assert set(matcher.value.split("|")) <= known, place


def test_alerts_say_how_bad_they_are_and_what_to_do(rules):
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        if runbook := rule["annotations"].get("runbook"):
            assert (REPOSITORY / runbook).is_file(), runbook


def test_what_an_alert_says_are_labels_that_it_has(rules):
    for rule in rules:
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        _selectors, grouping = selectors_and_grouping(rule["expr"])
        # Without grouping the series' own labels are left.
        assert named <= (grouping or {"job", "service"}), rule["alert"]


def test_the_alerts_of_processes_name_all_of_them(rules):
    (down,) = [rule["expr"] for rule in rules if rule["alert"] == "PosthornProcessDown"]
    (missing,) = [rule["expr"] for rule in rules if rule["alert"] == "PosthornServiceMissing"]

    for process in PROCESSES:
        assert process in down.split('"')[1].split("|")
        assert f'absent(up{{job="{process}"}})' in missing


def test_prometheus_scrapes_every_process_in_a_network_that_it_shares(prometheus, compose):
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    networks = set(compose["services"]["prometheus"]["networks"])

    for process in PROCESSES:
        (lookup,) = jobs[process]["dns_sd_configs"]
        assert (lookup["names"], lookup["type"], lookup["port"]) == ([process], "A", 8000)
        assert networks & set(compose["services"][process]["networks"])
    assert jobs["rabbitmq"]["static_configs"] == [{"targets": ["rabbitmq:15692"]}]
    assert networks & set(compose["services"]["rabbitmq"]["networks"])
    assert "rabbitmq_prometheus" in (REPOSITORY / "deploy/compose/rabbitmq-plugins").read_text()
    assert jobs.keys() == {*PROCESSES, "rabbitmq", "ready", "whole"}


@pytest.mark.parametrize("name", ["ready", "whole"])
def test_readiness_is_asked_of_every_process(prometheus, compose, name):
    (job,) = [job for job in prometheus["scrape_configs"] if job["job_name"] == name]
    urls = [urlsplit(url) for url in job["static_configs"][0]["targets"]]
    modules = yaml.safe_load((FOLDER / "blackbox.yml").read_text())["modules"]

    assert {url.hostname for url in urls} == set(PROCESSES)
    assert {(url.port, url.path) for url in urls} == {(8000, "/health/ready")}
    assert job["params"]["module"] == [name]
    assert name in modules
    assert job["relabel_configs"][-1]["replacement"] == "blackbox:9115"
    networks = {name: set(compose["services"][name]["networks"]) for name in ("prometheus", "blackbox", "gateway")}
    assert networks["prometheus"] & networks["blackbox"]
    assert networks["blackbox"] & networks["gateway"]


@pytest.mark.parametrize("away", [True, False])
def test_a_service_that_does_without_something_is_ready_and_not_whole(away):
    async def check() -> None:
        if away:
            raise ConnectionRefusedError

    async def asked() -> httpx.Response:
        app = create_app(AppParts(service="any", title="any", description="", routers=(), side_checks={"redis": check}))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://any") as client:
            return await client.get("/health/ready")

    answer = asyncio.run(asked())
    module = yaml.safe_load((FOLDER / "blackbox.yml").read_text())["modules"]["whole"]
    (wanted,) = module["http"]["fail_if_body_not_matches_regexp"]

    assert answer.status_code == 200
    assert bool(re.search(wanted, answer.text)) is not away


def test_files_are_where_prometheus_and_grafana_look_for_them(prometheus, compose):
    def mounted(container):
        return dict(volume.split(":")[1::-1] for volume in compose["services"][container]["volumes"])

    provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/posthorn.yml").read_text())["providers"][0]
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert set(prometheus["rule_files"]) <= mounted("prometheus").keys()
    assert provider["options"]["path"] in mounted("grafana")
    assert home == f"{provider['options']['path']}/posthorn.json"
    assert compose["services"]["prometheus"]["command"][0].removeprefix("--config.file=") in mounted("prometheus")
    assert compose["services"]["blackbox"]["command"][0].removeprefix("--config.file=") in mounted("blackbox")


def test_the_dashboard_asks_the_provisioned_data_source(dashboard, compose):
    provisioned = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    asked = {
        target["datasource"]["uid"]
        for panel in dashboard["panels"]
        for target in [panel, *panel.get("targets", ())]
        if panel["type"] != "row"
    }

    assert asked == {source["uid"]}
    address = urlsplit(source["url"])
    assert set(compose["services"][address.hostname]["networks"]) & set(compose["services"]["grafana"]["networks"])


def test_the_dashboards_panels_have_their_own_places(dashboard):
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
def test_alerts_fire_when_they_should():
    result = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr
