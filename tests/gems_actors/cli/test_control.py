"""`gems runs` where no mesh is running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gems_actors.cli import main
from protocol.messages import RunBegun
from tests.actors.memory_store.records import open_store


def test_runs_lists_what_memory_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    data = tmp_path / "data"
    command = ["runs", "--set", f"data_dir={data}"]
    assert main(command) == 0
    assert capsys.readouterr().err == "none\n"
    with open_store(data / "memory") as store:
        store.append([RunBegun(run="draw-1", what="a dog", total=1)])
        store.append([RunBegun(run="empty", what="b.txt", total=0)])
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["run"], row["state"], row["done"], row["total"], row["where"]) for row in rows] == [
        ("empty", "ended", 0, 0, f"{data}/memory"),
        ("draw-1", "unfinished", 0, 1, f"{data}/memory"),
    ]
    assert main(command) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["run", "state", "done", "failed", "began", "what", "where"]
    assert table[1].split()[:5] == ["empty", "ended", "0", "of", "0"]
