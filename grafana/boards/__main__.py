"""`python -m grafana.boards`: writes every board to grafana/dashboards/."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.boards.loadgen import loadgen
from grafana.boards.overview import overview
from grafana.boards.panels import MARKS
from grafana.boards.registry import registry
from grafana.boards.service import service

FOLDER = Path(__file__).parent.parent / "dashboards"
BOARDS: dict[str, Callable[[], Dashboard]] = {
    "mesh-overview": overview,
    "mesh-service": service,
    "mesh-loadgen": loadgen,
    "mesh-registry": registry,
}


def text(name: str) -> str:
    """The JSON of a board, as Grafana's provisioning reads it."""
    document = json.loads(JSONEncoder(sort_keys=True).encode(BOARDS[name]().build()))
    for annotation in document["annotations"]["list"]:
        annotation.update(MARKS[annotation["name"]])
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """Write them all."""
    for name in BOARDS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
