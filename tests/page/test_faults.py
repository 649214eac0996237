"""Faults and policies on the page: given and ended there, seen on the picture, explained in a trace."""

import json
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def faults(mesh: RealMesh) -> list[dict[str, Any]]:
    found = mesh.ask("/api/faults").json()["faults"]
    assert isinstance(found, list)
    return found


def rescued(mesh: RealMesh) -> str:
    """A trace in which a retry saved a request to payments, and of which the sidecar says why; or ''."""
    for trace in mesh.ask("/api/recent?kind=retried&service=payments&limit=20").json()["traces"]:
        exchanges = mesh.ask(f"/api/explain/{trace['id']}?maybe=true").json()["exchanges"]
        reasons = [attempt["reason"] for each in exchanges for attempt in each["attempts"]]
        if any("payments-2: answered 503" in reason for reason in reasons):
            return str(trace["id"])
    return ""


def test_a_fault_by_the_menu_is_seen_explained_and_ended(page: Any, mesh: RealMesh) -> None:
    """The sidecar answers the error, retries save the requests, and the trace says why."""
    page.click('[data-instance="payments-2"] .more')
    page.click('#menu >> text="Add a fault"')
    assert page.input_value('#faults [name="target"]') == "payments-2"
    page.select_option('#faults [name="kind"]', "abort")
    page.fill('#faults [name="percent"]', "100")
    page.click('#faults button:text("Start the fault")')
    page.wait_for_selector("#faults [data-fault]", timeout=60_000)
    [fault] = faults(mesh)
    assert (fault["instance"], fault["what"]) == ("payments-2", "abort 503")
    page.wait_for_selector('[data-instance="payments-2"] em.fault', timeout=60_000)

    trace_id = until(lambda: rescued(mesh), 60)
    page.evaluate("id => import('/page/js/waterfall.js').then(({ openTrace }) => openTrace(id))", trace_id)
    page.wait_for_selector("dialog#waterfall details.why[open]", timeout=60_000)
    # a request may have been retried at other hops, too
    words = page.eval_on_selector_all(
        "dialog#waterfall details.why", "all => all.map(one => one.textContent)"
    )
    assert any("2 attempts" in each and "answered 503" in each for each in words), words
    page.keyboard.press("Escape")
    page.click('#faults button[data-end]:text("End")')
    until(lambda: not faults(mesh), 60)
    page.wait_for_selector('[data-instance="payments-2"] em.fault', state="detached", timeout=60_000)
    page.click("#tab-events")
    page.wait_for_selector("#events :text('payments-2')")


def test_policies_are_listed_and_a_fault_of_one_is_on_its_calls(page: Any, mesh: RealMesh) -> None:
    """A VirtualService that injects a fault marks the calls to its host."""
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "users"},
        "spec": {
            "hosts": ["users"],
            "http": [
                {
                    "fault": {"delay": {"percentage": {"value": 1}, "fixedDelay": "5ms"}},
                    "route": [{"destination": {"host": "users"}}],
                }
            ],
        },
    }
    body = json.dumps({"documents": [document]}).encode()
    assert mesh.ask("/api/policies", "PUT", body).status == 200
    page.click("#tab-faults")
    page.wait_for_selector('.policies tr:has-text("VirtualService")', timeout=60_000)
    marked = "async () => (await import('/page/js/faults.js')).injected.has('users')"
    until(lambda: page.evaluate(marked), 60)
    assert mesh.ask("/api/policies/VirtualService/users", "DELETE").status == 200
    until(lambda: not page.evaluate(marked), 60)
