"""Who may talk to whom: the rendered NetworkPolicies, pod by pod, against the table in deploy/k8s/README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch

import pytest

from posthorn_local.paths import REPOSITORY

README = REPOSITORY / "deploy" / "k8s" / "README.md"
OUTSIDE = {"relays", "ingress", "monitoring", "DNS"}
SERVERS = {"redis": "valkey"}  # what the table calls a server → the workload in dev


@dataclass(frozen=True)
class Pod:
    name: str
    labels: dict[str, str]

    def __hash__(self):
        return hash(self.name)


def pods_of(manifests):
    return [
        Pod(m["metadata"]["name"], m["spec"]["template"]["metadata"]["labels"])
        for m in manifests
        if m["kind"] in {"Deployment", "StatefulSet", "Job"}
    ]


def selects(selector, labels):
    for rule in selector.get("matchExpressions", ()):
        value = labels.get(rule["key"])
        assert rule["operator"] in {"In", "NotIn"}
        # Kubernetes: NotIn also holds where the label is missing.
        if (value in rule["values"]) is (rule["operator"] == "NotIn"):
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def policies_for(manifests, pod, direction):
    return [
        m["spec"]
        for m in manifests
        if m["kind"] == "NetworkPolicy"
        and direction in m["spec"]["policyTypes"]
        and selects(m["spec"]["podSelector"], pod.labels)
    ]


def peers(manifests, pod, direction):
    """(peer, port) of every rule for the pod in one direction."""
    key, side = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[direction]
    policies = policies_for(manifests, pod, direction)
    assert policies, f"{pod.name} is not covered by any policy: everything would be allowed"
    return [
        (peer, port["port"])
        for policy in policies
        for rule in policy.get(key, ())
        for peer in rule[side]
        for port in rule["ports"]
    ]


def is_pod(peer, pod):
    return peer.keys() == {"podSelector"} and selects(peer["podSelector"], pod.labels)


def edges(manifests):
    """All (from, to, port) between pods that both sides allow."""
    pods = pods_of(manifests)
    out = {
        (p, peer, port)
        for p in pods
        for rule, port in peers(manifests, p, "Egress")
        for peer in pods
        if is_pod(rule, peer)
    }
    into = {
        (peer, p, port)
        for p in pods
        for rule, port in peers(manifests, p, "Ingress")
        for peer in pods
        if is_pod(rule, peer)
    }
    return {(a.name, b.name, port) for a, b, port in out & into}, {(a.name, b.name, port) for a, b, port in out - into}


def table():
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d, ]+) \| ([^|]+) \|$", README.read_text(), re.MULTILINE)
    assert len(rows) > 10
    return [
        (sources.split(", "), targets.split(", "), [int(port) for port in ports.split(", ")], why)
        for sources, targets, ports, why in rows
    ]


def expand(word, pods):
    """Workload names behind a word of the table: a workload, a pattern, or a service without its migration."""
    word = SERVERS.get(word, word)
    found = {pod.name for pod in pods if fnmatch(pod.name, word)}
    return found or {
        pod.name
        for pod in pods
        if pod.labels["app.kubernetes.io/name"] == word and pod.labels.get("app.kubernetes.io/component") != "migrate"
    }


def documented(manifests):
    pods = pods_of(manifests)
    found = set()
    for sources, targets, ports, _why in table():
        if OUTSIDE & {*sources, *targets}:
            continue
        for source in sources:
            for target in targets:
                froms, tos = expand(source, pods), expand(target, pods)
                assert froms, source
                assert tos, target
                found |= {(a, b, port) for a in froms for b in tos for port in ports}
    return found


def test_in_dev_pods_may_talk_exactly_as_documented(render):
    manifests = render("overlays/dev")

    allowed, one_sided = edges(manifests)

    assert allowed == documented(manifests)
    assert one_sided == set(), "may go out and may not come in"


def test_nobody_is_forgotten_by_default(manifests):
    for pod in pods_of(manifests):
        for direction in ("Ingress", "Egress"):
            assert policies_for(manifests, pod, direction), (pod.name, direction)


def test_in_production_services_talk_to_each_other_as_in_dev(render):
    def between_services(manifests):
        ours = {p.name for p in pods_of(manifests) if p.labels.get("app.kubernetes.io/part-of") == "posthorn"}
        return {edge for edge in edges(manifests)[0] if {edge[0], edge[1]} <= ours}

    assert between_services(render("overlays/prod")) == between_services(render("overlays/dev")) != set()


def blocks(manifests):
    """pod → (address block, port) that it may reach."""
    return {
        pod.name: {
            (rule["ipBlock"]["cidr"], port) for rule, port in peers(manifests, pod, "Egress") if "ipBlock" in rule
        }
        for pod in pods_of(manifests)
    }


@pytest.mark.parametrize(("server", "port"), [("postgres", 5432), ("redis", 6379), ("rabbitmq", 5672)])
def test_in_production_servers_are_reached_by_those_who_reach_them_in_dev(render, server, port):
    dev = {a for a, b, p in documented(render("overlays/dev")) if (b, p) == (SERVERS.get(server, server), port)}
    prod = {
        name for name, reachable in blocks(render("overlays/prod")).items() if port in {p for _cidr, p in reachable}
    }

    assert prod == dev - {"provision"}


def test_in_production_only_mail_leaves_to_the_internet(render):
    manifests = render("overlays/prod")
    (row,) = [row for row in table() if row[1] == ["relays"]]
    open_to_all = {
        name: {port for cidr, port in reachable if cidr in {"0.0.0.0/0", "::/0"}}
        for name, reachable in blocks(manifests).items()
    }

    assert {name: ports for name, ports in open_to_all.items() if ports} == {name: set(row[2]) for name in row[0]}


def test_relays_are_never_inside(render):
    (policy,) = [m for m in render("overlays/prod") if m["metadata"]["name"] == "to-relays"]
    excluded = {cidr for peer in policy["spec"]["egress"][0]["to"] for cidr in peer["ipBlock"]["except"]}

    assert {"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} <= excluded


def outside(manifests, direction):
    """pod → names of the namespaces outside that it may talk to in one direction."""
    found = {}
    for pod in pods_of(manifests):
        for peer, port in peers(manifests, pod, direction):
            if "namespaceSelector" in peer:
                namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                found.setdefault((namespace, port), set()).add(pod.name)
    return found


def test_from_outside_only_the_ingress_and_the_monitoring_come_in(render):
    manifests = render("overlays/prod")
    everybody = {pod.name for pod in pods_of(manifests)}

    assert outside(manifests, "Ingress") == {("ingress-nginx", 8000): {"gateway"}, ("monitoring", 8000): everybody}


def test_names_are_resolved_by_everybody(manifests):
    everybody = {pod.name for pod in pods_of(manifests)}

    assert outside(manifests, "Egress") == {("kube-system", 53): everybody}
