"""Commands whose roles use chat servers: costs, budgets, secrecy of keys, recordings, and what status shows."""

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
from actors.refiner import rules_for
from actors.verifying.questions import RULES as VERIFY_RULES
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
    rules_for(): '{"diagnosis": "lost", "prompt": "it, and it alone"}',
}


def answer(fields: dict[str, Any]) -> Answer:
    """Answer each role, billing 100 prompt tokens, half of them cached, and 10 completion tokens."""
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


ENVIRONMENT: Final = {"NO_PROXY": "127.0.0.1", "THE_KEY": KEY}


def test_a_draw_reports_its_cost_by_the_prices_of_each_role(tmp_path: Path, server: ScriptedServer) -> None:
    prices = (
        "chat.prices={prompt=10.0, cached=2.0, completion=100.0}",
        "chat.roles.refiner.prices={completion=1000.0}",
    )
    asked = ("draw", "it", "--seed", "1", "--rounds", "2", "--json", "-o", "it.png", *chat(server, *prices))
    spent = json.loads(run_gems(tmp_path, *asked, more=ENVIRONMENT).stdout)["spent"]
    calls = {"planner": 1, "decomposer": 1, "verifier": 2, "compressor": 1, "refiner": 1}
    assert {role: spent[role]["calls"] for role in calls} == calls
    assert spent["verifier"]["prompt_tokens"] == 200
    assert spent["verifier"]["cached_tokens"] == 100
    assert spent["verifier"]["cost"] == pytest.approx(2 * (50 * 10 + 50 * 2 + 10 * 100) / 1e6)
    assert spent["refiner"]["cost"] == pytest.approx(10 * 1000 / 1e6)
    shown = run_gems(tmp_path, *(word for word in asked if word != "--json"), more=ENVIRONMENT).stdout
    assert "cost: 6 calls, 600 (300 cached) + 60 tokens, 0.0180" in shown.splitlines()


def test_an_api_key_appears_in_no_log_no_memory_no_picture_and_no_message(
    tmp_path: Path, server: ScriptedServer
) -> None:
    asked = ("draw", "it", "--seed", "1", "--rounds", "2", "-o", "it.png", "-v", "--set", f"data_dir={tmp_path}/data")
    recorded = f"chat.record={tmp_path}/chats.jsonl"
    done = run_gems(tmp_path, *asked, *chat(server, "log.level=debug", recorded), more=ENVIRONMENT)
    assert done.returncode == 0
    assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    server.rule = lambda fields: Answer(json.dumps({"error": {"message": f"wrong key: {KEY}"}}).encode(), 401)
    refused = run_gems(tmp_path, *asked, *chat(server, "log.level=debug"), more=ENVIRONMENT)
    assert refused.returncode == 1
    assert "answered 401: wrong key: ***" in refused.stderr
    assert KEY not in done.stdout + done.stderr + refused.stdout + refused.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_bulk_stops_when_its_token_budget_is_spent_and_a_larger_budget_resumes_it(
    tmp_path: Path, server: ScriptedServer
) -> None:
    (tmp_path / "prompts.txt").write_text("it\n" * 12)
    command = ("bulk", "prompts.txt", "--out", "out", "--concurrency", "2", "--rounds", "3", "--json")
    first = run_gems(tmp_path, *command, *chat(server, "budget.max_tokens_per_run=3000"), more=ENVIRONMENT)
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
    assert 3000 <= tokens < 3000 + 3 * 1100, "trajectories in flight finish their round"
    again = run_gems(tmp_path, *command, *chat(server, "budget.max_tokens_per_run=3000"), more=ENVIRONMENT)
    assert (again.returncode, summary_in(again.stdout)["pictures"]) == (1, done), "what was spent before counts"
    rest = run_gems(tmp_path, *command, *chat(server), more=ENVIRONMENT)
    complete = summary_in(rest.stdout)
    assert (rest.returncode, complete["pictures"], complete["failures"]) == (0, 12, 0)
    assert complete["spent"]["decomposer"]["calls"] == 12, "nothing is paid twice"
    assert "all chat models" in rest.stderr


def test_a_trajectory_ends_with_its_best_attempt_when_its_call_budget_is_spent(
    tmp_path: Path, server: ScriptedServer
) -> None:
    asked = ("draw", "it", "--seed", "1", "--rounds", "5", "-o", "it.png")
    done = run_gems(tmp_path, *asked, *chat(server, "budget.max_calls_per_trajectory=9"), more=ENVIRONMENT)
    assert done.returncode == 0
    assert "stopped after round 3 of 5: the budget does not cover another round" in done.stdout


def test_a_recording_replays_to_the_same_picture_without_a_server(tmp_path: Path, server: ScriptedServer) -> None:
    asked = ("draw", "it", "--seed", "1", "--rounds", "2")
    assert (
        run_gems(tmp_path, *asked, "-o", "a.png", *chat(server, "chat.record=c.jsonl"), more=ENVIRONMENT).returncode
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


def test_status_shows_the_concurrency_limit_of_a_server_and_its_open_breaker(
    tmp_path: Path, server: ScriptedServer
) -> None:
    up = [*COMMAND, "up", *chat(server)]
    with started(up, cwd=tmp_path, env=environment(tmp_path, **ENVIRONMENT), stdout=PIPE, stderr=DEVNULL) as mesh:
        assert mesh.stdout is not None
        assert mesh.stdout.readline().startswith("mesh ready")
        address = f"ipc://{tmp_path}/gems-actors/router.ipc"
        drawn = run_gems(tmp_path, "draw", "it", "--rounds", "1", "-o", "it.png", "--router", address)
        assert drawn.returncode == 0
        while "window 2" not in (shown := run_gems(tmp_path, "status").stdout):  # it arrives with the next heartbeat
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
        assert mesh.wait(120) == 0
