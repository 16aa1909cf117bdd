"""The findings of `gems doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server
from tests.gems_actors.cli.commands import run_gems


def test_a_sound_installation_has_no_failure(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert (done.returncode, done.stderr) == (0, "")
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warn"}
    assert {"Python", "SQLite", "ZeroMQ", "configuration", "data folder", "data disk", "mesh"} <= findings.keys()


def test_a_failed_check_has_advice(tmp_path: Path) -> None:
    done = run_gems(tmp_path, "doctor", "--set", "data_dir=/dev/null/data")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.startswith("fail  data folder"))
    assert line.endswith("choose another with --set data_dir=FOLDER")
    assert done.stderr.count("\n") == 1


def test_code_of_the_user_is_imported_and_must_be_a_role(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from actors.planner import Planner as Role\nclass Idle: ...")
    roles = [f"--set=roles.{name.lower()}.actor=own:{name}" for name in ("Role", "Idle", "Nothing")]
    done = run_gems(tmp_path, "doctor", "--json", *roles, "--set", "import_path=['.']")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert findings["roles.role.actor"]["state"] == "ok"
    assert findings["roles.idle.actor"]["found"] == "roles.idle.actor: expected a subclass of Actor, got own:Idle"
    assert "AttributeError: module 'own' has no attribute 'Nothing'" in findings["roles.nothing.actor"]["found"]


@pytest.mark.slow
def test_the_picture_store_is_written_and_read(tmp_path: Path) -> None:
    def found(blobs: str) -> tuple[str, str]:
        done = run_gems(tmp_path, "doctor", "--json", "--set", f"blobs={blobs}")
        finding = next(finding for finding in json.loads(done.stdout) if finding["what"] == "pictures")
        return finding["state"], f"{finding['found']}: {finding['advice']}"

    assert found(f"file://{tmp_path}/shared") == ("ok", f"stored and read back at file://{tmp_path}/shared: ")
    state, message = found("file:///dev/null/shared")
    assert (state, "/dev/null/shared/sha256" in message, "mount the folder" in message) == ("fail", True, True)


@pytest.mark.slow
def test_an_image_server_is_reached_or_reported(tmp_path: Path) -> None:
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


def answer_chat(fields: dict[str, Any]) -> Answer:
    """Answer as a server that gives probabilities and follows schemas."""
    message, logprobs = {"content": "yes", "reasoning_content": "It is red."}, None
    if "logprobs" in fields:
        tokens = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -3.0}]
        logprobs = {"content": [{**tokens[0], "top_logprobs": tokens}]}
    if "response_format" in fields:
        message = {"content": '{"is_red": true}'}
    usage = {"prompt_tokens": 90, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 64}}
    return Answer(json.dumps({"choices": [{"message": message, "logprobs": logprobs}], "usage": usage}).encode())


def answer_plainly(fields: dict[str, Any]) -> Answer:
    """Answer as a server without these features, with a model that does not accept pictures."""
    if "response_format" in fields:
        return Answer(b'{"detail": "extra inputs are not permitted"}', 422)
    return Answer(json.dumps({"choices": [{"message": {"content": "no"}}]}).encode())


@pytest.mark.slow
def test_a_chat_server_is_asked_for_its_models_and_features(tmp_path: Path) -> None:
    with open_server(ScriptedServer(answer_chat)) as one, open_server(ScriptedServer(answer_plainly)) as two:
        one.files["/v1/models"] = json.dumps({"data": [{"id": f"m{number}"} for number in range(5)]}).encode()
        flags = ["chat.backend=openai", f"chat.url={one.url}", f"chat.roles.verifier.url={two.url}"]
        options = [word for flag in flags for word in ("--set", flag)]
        done = run_gems(tmp_path, "doctor", "--json", *options)
        asked = len(one.asked)
    found = {item["what"]: item for item in json.loads(done.stdout) if item["what"].startswith("chat server")}
    assert [(what, item["state"]) for what, item in found.items()] == [
        ("chat server", "ok"),
        ("chat server of chat.roles.verifier", "warn"),
    ]
    assert found["chat server"]["found"] == (
        f"{one.url} with m0, m1, m2 and 2 more; asked if a red picture is red: yes (95 %); gives probabilities, "
        "follows JSON schemas, counts cached tokens, HTTP/1.1"
    )
    assert found["chat server of chat.roles.verifier"]["found"].endswith(
        "asked if a red picture is red: no; gives no probabilities, refuses JSON schemas, HTTP/1.1"
    )
    assert asked == 4, "the models, a score, and a schema twice"
    gone = run_gems(tmp_path, "doctor", "--json", *options)
    assert gone.returncode == 1
    (item, _) = [item for item in json.loads(gone.stdout) if item["what"].startswith("chat server")]
    assert (item["state"], item["advice"]) == ("fail", "start the server, or correct chat")
    assert "ConnectError" in item["found"]


@pytest.mark.slow
def test_the_folder_of_a_pipeline_is_checked(tmp_path: Path) -> None:
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
