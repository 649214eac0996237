"""docs/istio.md says what the models do."""

from pathlib import Path

from mesh.istio_page import HONOURED, NO_EFFECT, REFUSED, page, rows_of
from sidecar.routing.documents import KINDS
from sidecar.routing.virtual_service import HTTPMatchRequest, HTTPRoute

PAGE = Path(__file__).parents[2] / "docs" / "istio.md"


def test_the_page_is_what_the_models_say() -> None:
    """After a change of a model: make docs."""
    assert PAGE.read_text(encoding="utf-8") == page(), "make docs renews it"


def test_each_field_has_one_row_with_its_fate() -> None:
    """Fields that act, that change nothing, that are refused; each links to what stands in it."""
    rows = {name: (fate, words) for name, fate, words in rows_of(HTTPRoute)}
    assert len(rows) == len(list(rows_of(HTTPRoute)))
    assert rows["route"] == (HONOURED, "a list of [HTTPRouteDestination](#httproutedestination)")
    assert rows["timeout"] == (HONOURED, "like `1.5s`")
    assert rows["websocketUpgrade"][0] == NO_EFFECT
    assert rows["mirrorPercent"] == (REFUSED, "use mirrorPercentage: {value: ...}")
    assert ("statPrefix", NO_EFFECT, "metrics are named by service and route") in rows_of(HTTPMatchRequest)


def test_every_kind_has_a_row() -> None:
    """Also those that are refused."""
    text = page()
    for kind in (*KINDS, "Gateway", "AuthorizationPolicy"):
        assert f"`{kind}`" in text
