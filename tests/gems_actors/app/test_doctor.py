"""The checks of `gems doctor`, in this process: torch is imported once for all of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gems_actors.app.doctor import Finding, examine
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server
from tests.skills.files import write_skill

pytestmark = pytest.mark.slow


def findings(folder: Path, what: str, *settings: str) -> list[Finding]:
    """Return the findings about one thing, with all folders below a folder of the test."""
    folders = (f"data_dir={folder / 'data'}", f"router.runtime_dir={folder / 'run'}")
    return [finding for finding in examine(None, [*folders, *settings], None) if finding.what.startswith(what)]


def test_the_picture_store_is_written_and_read(tmp_path: Path) -> None:
    def found(blobs: str) -> tuple[str, str]:
        (finding,) = findings(tmp_path, "pictures", f"blobs={blobs}")
        return finding.state, f"{finding.found}: {finding.advice}"

    assert found(f"file://{tmp_path}/shared") == ("ok", f"stored and read back at file://{tmp_path}/shared: ")
    state, message = found("file:///dev/null/shared")
    assert (state, "/dev/null/shared/sha256" in message, "mount the folder" in message) == ("fail", True, True)


def test_an_image_server_is_reached_or_reported(tmp_path: Path) -> None:
    with open_server(ScriptedServer(drawn)) as server:
        server.files["/v1/models"] = b'{"data": [{"id": "painter-1"}]}'
        (there,) = findings(tmp_path, "image server", f"image.url={server.url}")
    (gone,) = findings(tmp_path, "image server", f"image.url={server.url}")
    assert (there.state, there.found) == ("ok", f"{server.url} answers, with painter-1")
    assert gone.state == "fail"
    assert "ConnectError" in gone.found


def answer_chat(fields: dict[str, Any]) -> Answer:
    """Answer as a server that gives probabilities and follows schemas."""
    message, logprobs = {"content": "yes"}, None
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


def test_a_chat_server_is_asked_for_its_models_and_features(tmp_path: Path) -> None:
    with open_server(ScriptedServer(answer_chat)) as one, open_server(ScriptedServer(answer_plainly)) as two:
        one.files["/v1/models"] = json.dumps({"data": [{"id": f"m{number}"} for number in range(5)]}).encode()
        settings = ["chat.backend=openai", f"chat.url={one.url}", f"chat.roles.verifier.url={two.url}"]
        chat, verifier = findings(tmp_path, "chat server", *settings)
        asked = len(one.asked)
    assert (chat.what, chat.state) == ("chat server", "ok")
    assert (verifier.what, verifier.state) == ("chat server of chat.roles.verifier", "warn")
    assert chat.found == (
        f"{one.url} with m0, m1, m2 and 2 more; asked if a red picture is red: yes (95 %); gives probabilities, "
        "follows JSON schemas, counts cached tokens, HTTP/1.1"
    )
    assert verifier.found.endswith(
        "asked if a red picture is red: no; gives no probabilities, refuses JSON schemas, HTTP/1.1"
    )
    assert asked == 4, "the models, a score, and a schema twice"
    gone, _ = findings(tmp_path, "chat server", *settings)
    assert (gone.state, gone.advice) == ("fail", "start the server, or correct chat")
    assert "ConnectError" in gone.found


def test_the_folder_of_a_pipeline_is_checked(tmp_path: Path) -> None:
    found: list[Finding] = []
    for text in ('{"_class_name": "ZImagePipeline"}', "{torn", None):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        if text is None:
            (folder / "model_index.json").unlink()
        else:
            (folder / "model_index.json").write_text(text)
        found += findings(tmp_path, "image model", "image.backend=diffusers", f"image.model={folder}")
    assert [finding.state for finding in found] == ["ok", "fail", "fail"]
    assert found[0].found == f"ZImagePipeline in {folder}"
    assert "JSONDecodeError" in found[1].found
    assert found[2].found == f"{folder} has no model_index.json"


def test_folders_of_skills_that_are_missing_empty_or_broken_are_reported(tmp_path: Path) -> None:
    write_skill(tmp_path / "good", "hats")
    (tmp_path / "empty").mkdir()
    write_skill(tmp_path / "broken", "hats", "---\n")
    names = [str(tmp_path / name) for name in ("good", "empty", "broken", "missing")]
    found = findings(tmp_path, "skills", f"skills.folders={json.dumps(names)}")
    assert [finding.state for finding in found] == ["ok", "warn", "warn", "warn"]
    assert [finding.found.split(":")[0].removeprefix(f"{tmp_path}/") for finding in found] == [
        f"1 in {tmp_path}/good",
        "empty has none",
        "broken/hats",
        "missing",
    ]


def test_a_reader_of_texts_that_is_not_installed_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(tmp_path, "reader of texts") == []
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    (finding,) = findings(tmp_path, "reader of texts", "verify.text=ocr")
    assert finding.state == "fail"
    assert "pip install 'gems-actors[ocr]'" in finding.advice


def test_a_gateway_that_could_not_start_is_a_finding(tmp_path: Path) -> None:
    def found(*settings: str) -> tuple[str, str]:
        (finding,) = findings(tmp_path, "gateway", "gateway.address=127.0.0.1:8484", *settings)
        return finding.state, finding.found

    assert found() == ("ok", "can serve http://127.0.0.1:8484 without tokens")
    (tmp_path / "tokens.toml").write_text("[alice]\n")
    (tmp_path / "tokens.toml").chmod(0o600)
    state, text = found(f"gateway.tokens={tmp_path}/tokens.toml")
    assert (state, "expected tables [NAME] with a token" in text) == ("fail", True)
    assert findings(tmp_path, "gateway") == []


def test_a_server_of_the_published_code_is_reached_and_its_seeds_are_said_to_have_no_effect(tmp_path: Path) -> None:
    with open_server(ScriptedServer(drawn)) as server:
        settings = ["image.backend=gems", f"image.url={server.url.removesuffix('/v1')}"]
        (there,) = findings(tmp_path, "image server", *settings)
    assert there.state == "ok"
    assert "its pictures cannot be drawn again from their seed" in there.found


def test_a_proxy_that_cannot_be_used_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://p")
    settings = ["image.backend=openai", "image.url=http://gpu-box.example/v1"]
    (network,) = findings(tmp_path, "network", *settings)
    (server,) = findings(tmp_path, "image server", *settings)
    assert {(one.state, one.found.partition(":")[0]) for one in (network, server)} == {("fail", "ALL_PROXY")}
    assert findings(tmp_path, "network") == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["image.backend=openai", "image.url=http://127.0.0.1:1/v1"], "expect unsure for every requirement"),
        (["image.backend=gems", "image.url=http://127.0.0.1:1"], "expect unsure for every requirement"),
        (["image.backend=diffusers", "image.model=owner/name"], "expect unsure for every requirement"),
        (["chat.backend=openai", "chat.url=http://127.0.0.1:1/v1"], "a stand-in that draws labelled tiles"),
        (["image.backend=math:sqrt"], None),
        ([], None),
    ],
)
def test_models_that_do_not_go_together_are_a_finding(tmp_path: Path, settings: list[str], words: str | None) -> None:
    found = findings(tmp_path, "models", *settings)
    assert [finding.state for finding in found] == (["warn"] if words else [])
    assert all((words or "") in finding.found for finding in found)
