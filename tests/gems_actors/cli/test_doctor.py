"""What the doctor finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gems_actors.backends.servers import ScriptedServer, drawn, open_server
from tests.gems_actors.cli.commands import run_gems


def test_a_sound_installation_has_no_failure(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert (done.returncode, done.stderr) == (0, "")
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warn"}
    assert {"Python", "SQLite", "ZeroMQ", "configuration", "data folder", "data disk", "mesh"} <= findings.keys()


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--set", "data_dir=/dev/null/data")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.startswith("fail  data folder"))
    assert line.endswith("choose another with --set data_dir=FOLDER")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_image_server_is_asked_whether_it_is_there(tmp_path: Path) -> None:
    with open_server(ScriptedServer(drawn)) as server:
        server.files["/v1/models"] = b'{"data": [{"id": "painter-1"}]}'
        there = run_gems(tmp_path, "doctor", "--json", "--set", f"image.url={server.url}")
    gone = run_gems(tmp_path, "doctor", "--json", "--set", f"image.url={server.url}")
    found = [
        next(finding for finding in json.loads(done.stdout) if finding["what"] == "image server")
        for done in (there, gone)
    ]
    assert (found[0]["state"], found[0]["found"]) == ("ok", f"{server.url} answers, with painter-1")
    assert (found[1]["state"], gone.returncode) == ("fail", 1)
    assert "ConnectError" in found[1]["found"]


@pytest.mark.slow
def test_a_pipeline_s_folder_is_looked_into(tmp_path: Path) -> None:
    found = []
    for text in ('{"_class_name": "ZImagePipeline"}', "{torn", None):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        if text is None:
            (folder / "model_index.json").unlink()
        else:
            (folder / "model_index.json").write_text(text)
        flags = ["--set", "image.backend=diffusers", "--set", f"image.model={folder}"]
        findings = json.loads(run_gems(tmp_path, "doctor", "--json", *flags).stdout)
        found.append(next(finding for finding in findings if finding["what"] == "image model"))
    assert [finding["state"] for finding in found] == ["ok", "fail", "fail"]
    assert found[0]["found"] == f"ZImagePipeline in {folder}"
    assert "JSONDecodeError" in found[1]["found"]
    assert found[2]["found"] == f"{folder} has no model_index.json"
