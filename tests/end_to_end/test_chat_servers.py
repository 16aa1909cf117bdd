"""Commands whose roles ask chat servers: what they cost, what a budget ends, what a key must not do, what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, Final

import pytest

from actors.compressor import RULES as COMPRESS_RULES
from actors.decomposer import RULES as DECOMPOSE_RULES
from actors.planner import ROUTE_RULES
from actors.refiner import RULES as REFINE_RULES
from actors.verifier import RULES as VERIFY_RULES
from gems_actors.os_process import EXIT_CONFIG
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems, summary_in
from tests.processes import started

pytestmark = pytest.mark.slow

KEY: Final = "sk-a-key-that-nobody-may-see"
ANSWERS: Final = {
    ROUTE_RULES: '{"skill": null}',
    DECOMPOSE_RULES: '{"requirements": [{"id": "r1", "question": "Is it?", "kind": "object", "depends_on": null}]}',
    VERIFY_RULES: "no, it is not",
    COMPRESS_RULES: "Say it first.",
    REFINE_RULES: '{"diagnosis": "lost", "prompt": "it, and it alone"}',
}


def answer(fields: dict[str, Any]) -> Answer:
    """Answer each role, for 100 tokens read, half of them cached, and 10 written."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 50}}
    text = ANSWERS[fields["messages"][0]["content"]]
    return Answer(json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode())


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(answer)) as running:
        yield running


def chat(server: ScriptedServer, *more: str) -> list[str]:
    flags = ["chat.backend=openai", f"chat.url={server.url}", "chat.api_key_env=THE_KEY", "verify.mode=words", *more]
    return [word for flag in flags for word in ("--set", flag)]


SURROUNDINGS: Final = {"NO_PROXY": "127.0.0.1", "THE_KEY": KEY}


def test_a_draw_says_what_it_cost_by_the_prices_of_each_role(tmp_path: Path, server: ScriptedServer) -> None:
    prices = (
        "chat.prices={prompt=10.0, cached=2.0, completion=100.0}",
        "chat.roles.refiner.prices={completion=1000.0}",
    )
    asked = ("draw", "it", "--seed", "1", "--rounds", "2", "--json", "-o", "it.png", *chat(server, *prices))
    spent = json.loads(run_gems(tmp_path, *asked, more=SURROUNDINGS).stdout)["spent"]
    calls = {"planner": 1, "decomposer": 1, "verifier": 2, "compressor": 1, "refiner": 1}
    assert {role: spent[role]["calls"] for role in calls} == calls
    assert spent["verifier"]["prompt_tokens"] == 200
    assert spent["verifier"]["cached_tokens"] == 100
    assert spent["verifier"]["cost"] == pytest.approx(2 * (50 * 10 + 50 * 2 + 10 * 100) / 1e6)
    assert spent["refiner"]["cost"] == pytest.approx(10 * 1000 / 1e6)
    shown = run_gems(tmp_path, *(word for word in asked if word != "--json"), more=SURROUNDINGS).stdout
    assert "cost: 6 calls, 600 (300 cached) + 60 tokens, 0.0180" in shown.splitlines()


def test_a_key_is_in_no_log_no_memory_no_picture_and_no_message(tmp_path: Path, server: ScriptedServer) -> None:
    asked = ("draw", "it", "--seed", "1", "--rounds", "2", "-o", "it.png", "-v", "--set", f"data_dir={tmp_path}/data")
    recorded = f"chat.record={tmp_path}/chats.jsonl"
    done = run_gems(tmp_path, *asked, *chat(server, "log.level=debug", recorded), more=SURROUNDINGS)
    assert done.returncode == 0
    assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    server.rule = lambda fields: Answer(json.dumps({"error": {"message": f"wrong key: {KEY}"}}).encode(), 401)
    refused = run_gems(tmp_path, *asked, *chat(server, "log.level=debug"), more=SURROUNDINGS)
    assert refused.returncode == 1
    assert "answered 401: wrong key: ***" in refused.stderr
    assert KEY not in done.stdout + done.stderr + refused.stdout + refused.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_bulk_ends_cleanly_when_its_tokens_are_spent_and_a_larger_budget_goes_on(
    tmp_path: Path, server: ScriptedServer
) -> None:
    (tmp_path / "prompts.txt").write_text("it\n" * 12)
    command = ("bulk", "prompts.txt", "--out", "out", "--concurrency", "2", "--rounds", "3", "--json")
    first = run_gems(tmp_path, *command, *chat(server, "budget.max_tokens_per_run=3000"), more=SURROUNDINGS)
    summary = summary_in(first.stdout)
    done = summary["pictures"]
    assert first.returncode == 1
    assert (summary["failures"], 1 <= done < 12) == (0, True)
    last = first.stderr.splitlines()[-1]
    assert last == (
        f"gems: the budget of 3000 tokens is spent: {done} of 12 done, {12 - done} left; "
        "a larger budget.max_tokens_per_run continues"
    )
    tokens = sum(item["prompt_tokens"] + item["completion_tokens"] for item in summary["spent"].values())
    assert 3000 <= tokens < 3000 + 3 * 1100, "what was in hand ends with its round"
    again = run_gems(tmp_path, *command, *chat(server, "budget.max_tokens_per_run=3000"), more=SURROUNDINGS)
    assert (again.returncode, summary_in(again.stdout)["pictures"]) == (1, done), "what was spent before counts"
    rest = run_gems(tmp_path, *command, *chat(server), more=SURROUNDINGS)
    whole = summary_in(rest.stdout)
    assert (rest.returncode, whole["pictures"], whole["failures"]) == (0, 12, 0)
    assert whole["spent"]["decomposer"]["calls"] == 12, "nothing is paid twice"
    assert "all chat models" in rest.stderr


def test_a_trajectory_ends_with_what_it_has_when_its_calls_are_spent(tmp_path: Path, server: ScriptedServer) -> None:
    asked = ("draw", "it", "--seed", "1", "--rounds", "5", "-o", "it.png")
    done = run_gems(tmp_path, *asked, *chat(server, "budget.max_calls_per_trajectory=9"), more=SURROUNDINGS)
    assert done.returncode == 0
    assert "stopped after round 3 of 5: the budget does not cover another round" in done.stdout


def test_what_was_recorded_is_replayed_without_a_server_to_the_same_picture(
    tmp_path: Path, server: ScriptedServer
) -> None:
    asked = ("draw", "it", "--seed", "1", "--rounds", "2")
    assert (
        run_gems(tmp_path, *asked, "-o", "a.png", *chat(server, "chat.record=c.jsonl"), more=SURROUNDINGS).returncode
        == 0
    )
    replayed = ("--set", "chat.backend=replay", "--set", "chat.replay=c.jsonl", "--set", "verify.mode=words")
    assert run_gems(tmp_path, *asked, "-o", "b.png", *replayed).returncode == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    missing = run_gems(
        tmp_path, *asked, "-o", "c.png", "--set", "chat.backend=replay", "--set", "chat.replay=none.jsonl"
    )
    assert (missing.returncode, missing.stderr.count("\n")) == (EXIT_CONFIG, 1)
    assert f"chat.replay: {tmp_path}/none.jsonl: expected a recording: No such file or directory" in missing.stderr


def test_status_shows_how_a_server_is_pressed_and_that_one_is_gone(tmp_path: Path, server: ScriptedServer) -> None:
    up = [*COMMAND, "up", *chat(server)]
    with started(up, cwd=tmp_path, env=environment(tmp_path, **SURROUNDINGS), stdout=PIPE, stderr=DEVNULL) as mesh:
        assert mesh.stdout is not None
        assert mesh.stdout.readline().startswith("mesh ready")
        address = f"ipc://{tmp_path}/gems-actors/router.ipc"
        drawn = run_gems(tmp_path, "draw", "it", "--rounds", "1", "-o", "it.png", "--router", address)
        assert drawn.returncode == 0
        while "window 8" not in (shown := run_gems(tmp_path, "status").stdout):  # it comes with the next heartbeat
            assert mesh.poll() is None
        assert "servers down 0" in shown
        server.rule = lambda fields: Answer(b"the engine is dead", 500)
        (tmp_path / "prompts.txt").write_text("it\n" * 8)
        bulk = [*COMMAND, "bulk", "prompts.txt", "--out", "out", "--router", address]
        with started(bulk, cwd=tmp_path, env=environment(tmp_path), stdout=DEVNULL, stderr=DEVNULL):
            while "breaker " not in (shown := run_gems(tmp_path, "status").stdout):
                assert mesh.poll() is None
        assert "answered 500: 'the engine is dead'" in shown
        mesh.terminate()
        assert mesh.wait(30) == 0
