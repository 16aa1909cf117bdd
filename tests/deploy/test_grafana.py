"""The Grafana dashboard: every query is valid, and asks for metrics and labels that a mesh has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gems_actors.ops.prometheus import metrics_text
from protocol.messages import ActorStatus, MeshStatus, RoleStatus

FILE = Path(__file__).parents[2] / "deploy" / "grafana.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text())
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
TOTALS = {
    "calls": 1.0, "call_seconds": 1.0, "pictures/all_met": 1.0, "failures/backend": 1.0, "rounds": 1.0, "images": 1.0,
    "tokens/planner/prompt": 1.0, "calls/planner": 1.0, "cost/planner": 1.0, "restarts/planner": 1.0,
    "pictures_of_rounds/2": 1.0,
}  # fmt: skip


def exported() -> str:
    actor = ActorStatus(
        name="p-1", role="planner", host="h", pid=1, version="1", capacity=1, busy=0, handled=0, silent_s=0.0,
        oldest_s=0.0,
    )  # fmt: skip
    role = RoleStatus(role="planner", queued=0, oldest_s=0.0, actors=(actor,), totals=TOTALS)
    return metrics_text(MeshStatus(epoch="e", uptime_s=1.0, roles=(role,), clients=1, requeued=0))


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_a_mesh_has(query: str) -> None:
    samples = [line for line in exported().splitlines() if not line.startswith("#")]
    for name in re.findall(r"gems_\w+", query):
        found = [line for line in samples if re.match(rf"{name}[{{ ]", line)]
        assert found, name
        for label in re.findall(rf"by \((\w+)\) \((?:rate|increase)\({name}\b", query):
            assert f'{label}="' in found[0]


@pytest.mark.skipif(shutil.which("promtool") is None and "CI" not in os.environ, reason="needs promtool of Prometheus")
def test_promtool_accepts_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": q.replace("$__rate_interval", "5m")} for n, q in enumerate(QUERIES)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    places: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert panel["title"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not places & cells
        places |= cells
