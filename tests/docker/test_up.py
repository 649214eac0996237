"""`docker compose up`: everything is healthy, found, counted, traced and pictured without one more step."""

import json
import subprocess
from typing import Any

import pytest

from grafana.boards.__main__ import FOLDER
from services.script import load_topology
from tests.docker.project import Project, docker, eventually
from tests.grafana.test_boards import panels

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

INSTANCES = load_topology("shop").instances()
SERVICES = {one.service.name for one in INSTANCES}

# In the form of the boards that come with Istio: their labels, their functions, their windows.
ISTIO_QUERIES = [
    'round(sum(irate(istio_requests_total{reporter="source"}[1m])), 0.001)',
    'sum(rate(istio_requests_total{reporter="source", response_code!~"5.*"}[1m])) '
    '/ sum(rate(istio_requests_total{reporter="source"}[1m]))',
    'histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{reporter="destination", '
    'destination_service=~"orders.*"}[1m])) by (destination_workload, le))',
    'sum(rate(istio_request_bytes_sum{connection_security_policy!="mutual_tls"}[1m])) by (source_workload)',
    "sum(rate(istio_response_bytes_count[1m])) by (destination_service_name, response_code)",
]


def test_everything_is_healthy(shop: Project) -> None:
    """Control sees every replica healthy; the seconds of a warm start are printed."""
    print(f"up --wait took {shop.took:.1f} s")  # noqa: T201 - the figure that README names comes from here
    status = shop.get("CONTROL", "/api/status")
    assert len(status["instances"]) == len(INSTANCES)
    eventually(
        lambda: all(each["healthy"] for each in shop.get("CONTROL", "/api/status")["instances"]),
        30,
        "all instances healthy",
    )


def test_the_entrypoint_answers_with_the_whole_tree(shop: Project) -> None:
    """One request goes through the shop."""
    tree = shop.get("ENTRYPOINT", "/")
    assert (tree["service"], tree["status"]) == ("gateway", 200)
    assert {call["service"] for call in tree["calls"]} == {"users", "catalog", "recommendations", "orders"}


def test_consul_lists_every_instance_passing(shop: Project) -> None:
    """By the address that others reach."""

    def passing() -> set[str]:
        found = set()
        for service in SERVICES:
            for entry in shop.get("CONSUL", f"/v1/health/service/{service}", passing="1"):
                assert entry["Service"]["Address"] == shop.container(f"{entry['Service']['ID']}-sidecar")
                found.add(entry["Service"]["ID"])
        return found

    eventually(lambda: passing() == {one.name for one in INSTANCES}, 30, "every instance passing")


def test_prometheus_has_every_target_up_and_labelled(shop: Project) -> None:
    """Sidecars and apps through Consul, with service, instance, version and zone."""

    def targets() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = shop.get("PROMETHEUS", "/api/v1/targets")["data"]["activeTargets"]
        down = [f"{each['scrapeUrl']}: {each['lastError']}" for each in found if each["health"] != "up"]
        assert down == []
        assert len(found) == 2 * len(INSTANCES) + 6
        return found

    found = eventually(targets, 60, "every target up")
    for job in ("sidecars", "services"):
        labels = {
            each["labels"]["instance"]: each["labels"] for each in found if each["labels"]["job"] == job
        }
        assert set(labels) == {one.name for one in INSTANCES}
        for one in INSTANCES:
            assert (labels[one.name]["service"], labels[one.name]["version"]) == (
                one.service.name,
                one.version,
            )


def test_every_query_of_every_board_has_data(shop: Project) -> None:
    """Also the ones in the form of Istio's own boards."""
    wanted = [
        target["expr"].replace("$service", "orders")
        for path in sorted(FOLDER.glob("*.json"))
        for panel in panels(json.loads(path.read_text(encoding="utf-8")))
        for target in panel["targets"]
    ]
    assert len(wanted) > 40

    def full() -> bool:
        missing = [expr for expr in (*wanted, *ISTIO_QUERIES) if not shop.query(expr)]
        assert missing == []
        return True

    eventually(full, 90, "every query has data")


def test_every_rule_works(shop: Project) -> None:
    """Recorded signals have values; alerts are evaluated without an error."""

    def broken() -> list[str]:
        groups = shop.get("PROMETHEUS", "/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) >= 15
        faults = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
        return faults + [
            rule["name"] for rule in rules if rule["type"] == "recording" and not shop.query(rule["name"])
        ]

    eventually(lambda: broken() == [], 60, "every rule ok")


def test_promtool_accepts_configuration_and_rules(shop: Project) -> None:
    """`promtool check config`, and the unit tests of the rules."""
    container = shop.container("prometheus")
    docker("exec", container, "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    docker("exec", container, "promtool", "test", "rules", "/etc/prometheus/tests/rules_test.yml")


def test_jaeger_has_a_trace_that_crosses_all_services(shop: Project) -> None:
    """One request, from the ingress to the last service; attempts are children of the exchange."""

    def crossing() -> bool:
        """Each process sends its spans when it likes: a trace is whole some seconds after its end."""
        for trace in shop.get("JAEGER", "/api/traces", service="gateway", limit="50")["data"]:
            services = {each["serviceName"] for each in trace["processes"].values()}
            attempts = [span for span in trace["spans"] if span["operationName"].startswith("attempt ")]
            ids = {span["spanID"] for span in trace["spans"]}
            whole = all(span["references"][0]["spanID"] in ids for span in attempts)
            if whole and services >= SERVICES | {"ingress"} and len(attempts) >= len(SERVICES):
                return True
        return False

    eventually(crossing, 60, "a whole trace across all services")


def test_control_takes_nobody_without_the_token(shop: Project) -> None:
    """Nor a page from elsewhere, nor another name of this machine."""
    answer = shop.compose("exec", "-T", "control", "mesh", "status", "--json")
    assert json.loads(answer.stdout)["topology"] == "shop"
    base = f"{shop.url('CONTROL')}/api/status"
    for headers, status in (
        ([], "401"),
        (["Authorization: Bearer wrong"], "401"),
        (["Authorization: Bearer a-token-for-tests", "Origin: http://evil.example"], "403"),
        (["Authorization: Bearer a-token-for-tests", "Host: evil.example"], "403"),
    ):
        words = [word for header in headers for word in ("--header", header)]
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *words, base],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == status, headers
