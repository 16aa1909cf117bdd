"""The page and what it asks for: its files, runs, trajectories, lessons and the mesh."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from PIL import Image

from gems_actors.errors import BackendError
from gems_actors.gateway.page.files import read_files
from protocol.messages import AppendRecord, RunBegun
from tests.gems_actors.gateway.doors import open_drawing_door, open_painted_door
from tests.gems_actors.gateway.test_tokens import write

LARGE = ("draw.width_px=384", "draw.height_px=384")
"""Large enough that the storyboard of `HARD` can meet everything, without which memory recalls no lesson of it."""
HARD = "seven sparkling croissants, and five black elephants to the left of a flamingo"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202ecats"


async def draw(http: httpx.AsyncClient, prompt: str, **fields: Any) -> dict[str, Any]:
    answer = await http.post("/v1/images/generations", json={"prompt": prompt, "seed": 11, **fields})
    assert answer.status_code == 200, answer.text
    gems: dict[str, Any] = answer.json()["data"][0]["gems"]
    return gems


async def test_the_page_and_its_files_come_with_a_policy_that_allows_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as http:
        page = await http.get("/")
        assert page.headers["content-type"].startswith("text/html")
        names = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert len(names) == 6
        for name in ("/", *names):
            answer = await http.get(name)
            assert answer.status_code == 200, name
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';"), name
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            unchanged = await http.get(name, headers={"if-none-match": answer.headers["etag"]})
            assert (unchanged.status_code, unchanged.content) == (304, b"")
        for name in ("none.js", "..%2Factor.py", "%2e%2e/actor.py", "files.py"):
            assert (await http.get(f"/static/{name}")).status_code == 404, name


def test_no_file_of_the_page_makes_markup_of_texts_or_names_another_host() -> None:
    files = read_files()
    assert len(files) > 8
    markup = re.compile(rb"innerHTML|outerHTML|insertAdjacent|document\.write|DOMParser|eval\(|new Function|srcdoc")
    for name, file in files.items():
        assert not markup.search(file.data), name
        hosts = set(re.findall(rb"https?://[^\"'\s]+", file.data))
        assert hosts <= {b"http://www.w3.org/2000/svg", b"https://github.com/leeoniya/uPlot"}, name
        if name.endswith(".html"):
            assert not re.search(rb"<style|style=|<script(?! (type=\"module\"|defer) src=)| on\w+=", file.data)


@pytest.mark.slow
async def test_a_trajectory_is_described_round_by_round(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path, *LARGE) as door, door.http() as http:
        drawn = await draw(http, HARD)
        runs = (await http.get("/v1/gems/runs")).json()
        assert [(run["run"], run["what"], run["ended"]) for run in runs["runs"]] == [(drawn["run"], HARD, 1)]
        run = (await http.get(f"/v1/gems/runs/{drawn['run']}?status=ended")).json()
        assert [item["trajectory"] for item in run["trajectories"]] == [drawn["trajectory"]]
        assert (await http.get(f"/v1/gems/runs/{drawn['run']}?status=failed")).json()["trajectories"] == []
        state = (await http.get(f"/v1/gems/trajectories/{drawn['trajectory']}")).json()
        assert (state["status"], state["prompt"], state["seed"]) == ("ended", HARD, 11)
        assert [round_["round"] for round_ in state["rounds"]] == [*range(1, drawn["rounds"] + 1)]
        assert [round_["is_chosen"] for round_ in state["rounds"]].count(True) == 1
        first, second = state["rounds"][:2]
        assert {"change": "added", "text": second["changes"][-1]["text"]} in second["changes"]
        assert first["experience"]
        (attempt,) = first["attempts"]
        assert [verdict["requirement"] for verdict in attempt["verdicts"]] == [
            item["id"] for item in state["requirements"]
        ]
        assert attempt["met"] < attempt["total"]
        image = await http.get(f"/v1/gems/trajectories/{drawn['trajectory']}/images/{attempt['image']}")
        with Image.open(io.BytesIO(image.content)) as picture:
            assert picture.size == (attempt["width_px"], attempt["height_px"]) == (384, 384)
        assert {"planner", "generator", "verifier"} <= {step["role"] for step in state["steps"]}
        assert {step["round"] for step in state["steps"] if step["role"] == "generator"} == {
            *range(1, drawn["rounds"] + 1)
        }
        small = await http.get(f"/v1/gems/trajectories/{drawn['trajectory']}/thumbnail")
        assert small.headers["content-type"] == "image/webp"
        with Image.open(io.BytesIO(small.content)) as picture:
            assert picture.format == "WEBP"
        lessons = (await http.get("/v1/gems/lessons", params={"q": "five black elephants"})).json()["lessons"]
        assert {lesson["trajectory"] for lesson in lessons} == {drawn["trajectory"]}
        roles = {role["role"]: role for role in (await http.get("/v1/gems/mesh")).json()["roles"]}
        assert roles["generator"]["actors"][0]["handled"] == drawn["rounds"]


async def test_what_memory_does_not_have_is_not_found_and_odd_questions_are_refused(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as http:
        unknown = f"trajectories/{'0' * 32}"
        for path in (unknown, f"{unknown}/images/1-1", "trajectories/x", "runs/none", f"runs/{'x' * 500}"):
            assert (await http.get(f"/v1/gems/{path}")).status_code == 404, path
        for path in ("runs?before=-1", "lessons", "lessons?q=", "runs/x?status=odd", "history?q=%20"):
            assert (await http.get(f"/v1/gems/{path}")).status_code == 400, path


@pytest.mark.slow
async def test_a_run_is_described_by_round_and_by_kind_and_found_by_words_of_its_prompts(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path, *LARGE) as door, door.http() as http:
        drawn = await draw(http, HARD)
        other = await draw(http, "one blue bird", gems={"rounds": 1})
        run = (await http.get(f"/v1/gems/runs/{drawn['run']}")).json()
        assert [item["round"] for item in run["by_round"]] == [*range(1, drawn["rounds"] + 1)]
        met = [item["met"] for item in run["by_round"]]
        assert met == sorted(met)
        assert (met[0] < met[-1], met[-1], run["requirements"]) == (True, drawn["met"], drawn["requirements"])
        assert sum(kind["total"] for kind in run["by_kind"].values()) == drawn["requirements"]
        assert run["by_kind"]["count"]["met"] <= run["by_kind"]["count"]["total"]
        assert run["spent"]["generator"]["calls"] == drawn["images"]
        assert (run["phase"], run["failures"], run["job"]) == ("running", {}, None)

        async def search(words: str) -> list[str]:
            found = (await http.get("/v1/gems/history", params={"q": words})).json()
            assert found["next"] is None
            return [item["trajectory"] for item in found["trajectories"]]

        assert await search("elephants croissants") == [drawn["trajectory"]]
        assert await search("blue BIRD") == [other["trajectory"]]
        assert await search("blue elephants") == []


async def test_a_run_is_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        painter.hold = trio.Event()
        job = (await http.post("/v1/gems/jobs", json={"prompts": ["one", "two"]})).json()
        path = f"/v1/gems/runs/{job['run']}"
        await painter.until(lambda: len(painter.begun) == 2)
        for action, before, phase in (
            ("pause", "running", "paused"), ("resume", "paused", "running"), ("cancel", "running", "cancelled"),
        ):  # fmt: skip
            done = await http.post(path, json={"action": action})
            assert (done.status_code, done.json()["before"]) == (200, before), done.text
            assert (await http.get(path)).json()["phase"] == phase
            assert [run["phase"] for run in (await http.get("/v1/gems/runs")).json()["runs"]] == [phase]
        assert (await http.post(path, json={"action": "explode"})).status_code == 400
        assert (await http.post(path, json={})).status_code == 400
        assert (await http.post("/v1/gems/runs/none", json={"action": "pause"})).status_code == 404


async def test_only_an_admin_scales_roles_and_sees_what_others_began(tmp_path: Path) -> None:
    keys = {"alice": "0123456789abcdef", "root": "fedcba9876543210"}
    text = "".join(f'[{caller}]\ntoken = "{token}"\n' for caller, token in keys.items())
    tokens = write(tmp_path, f"{text}admin = true\n")
    async with open_painted_door(tmp_path, f"gateway.tokens={tokens}") as (door, painter):
        alice, root = ({"authorization": f"Bearer {token}"} for token in keys.values())
        painter.failure = BackendError("the prompt 'of alice' is away")
        async with door.http() as http:
            failed = await http.post("/v1/images/generations", json={"prompt": "x"}, headers=alice)
            assert failed.status_code == 502
            scale = "/v1/gems/mesh/roles/conductor"
            refused = await http.post(scale, json={"count": 2}, headers=alice)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_admin")
            assert (await http.post(scale, json={"count": 2})).status_code == 401
            for odd in ({"count": -1}, {"count": "two"}, {"count": 10**9}, {}):
                assert (await http.post(scale, json=odd, headers=root)).status_code == 400, odd
            for role in ("memory", "gateway", "supervisor", "router", "nothing"):
                found = await http.post(f"/v1/gems/mesh/roles/{role}", json={"count": 2}, headers=root)
                assert found.status_code == 404, role
            mine, all_ = [(await http.get("/v1/gems/mesh", headers=who)).json() for who in (alice, root)]
            errors = [{role["role"]: role["last_error"] for role in mesh["roles"]} for mesh in (mine, all_)]
            assert errors[0]["conductor"] == "", "which may quote what others asked for"
            assert errors[1]["conductor"] == "backend: the prompt 'of alice' is away"
            assert (mine["is_admin"], all_["is_admin"]) == (False, True)
            runs = (await http.get("/v1/gems/runs", headers=root)).json()["runs"]
            assert runs == (await http.get("/v1/gems/runs", headers=alice)).json()["runs"]
            assert runs[0]["run"].startswith("http-alice-")


async def test_pages_of_what_others_began_are_skipped(tmp_path: Path) -> None:
    keys = {"alice": "0123456789abcdef", "bob": "fedcba9876543210"}
    tokens = write(tmp_path, "".join(f'[{caller}]\ntoken = "{token}"\n' for caller, token in keys.items()))
    async with open_painted_door(tmp_path, f"gateway.tokens={tokens}") as (door, _):
        alice, bob = ({"authorization": f"Bearer {token}"} for token in keys.values())
        async with door.http() as http:
            assert (await http.post("/v1/images/generations", json={"prompt": "x"}, headers=alice)).status_code == 200
            for number in range(60):
                begun = RunBegun(run=f"http-bob-{number:016x}", what="y", total=1)
                await door.mesh.ask(AppendRecord(record=begun))
            found = (await http.get("/v1/gems/runs", headers=alice)).json()
            assert [run["what"] for run in found["runs"]] == ["x"]
            assert len((await http.get("/v1/gems/runs", headers=bob)).json()["runs"]) == 50


@pytest.mark.parametrize(("name", "other"), [("alice", "bob"), ("a", "a-key")])
@pytest.mark.slow
async def test_a_caller_sees_what_its_own_token_began_and_the_page_needs_none(
    tmp_path: Path, name: str, other: str
) -> None:
    keys = {name: "0123456789abcdef", other: "fedcba9876543210"}
    tokens = write(tmp_path, "".join(f'[{caller}]\ntoken = "{token}"\n' for caller, token in keys.items()))
    async with open_drawing_door(tmp_path, f"gateway.tokens={tokens}", *LARGE) as door:
        async with door.http() as stranger:
            for path in ("/", "/static/main.js"):
                assert (await stranger.get(path)).status_code == 200, path
            for path in ("/v1/gems/runs", "/v1/gems/mesh", "/v1/gems/lessons?q=cats", "/v1/gems/history?q=cats"):
                assert (await stranger.get(path)).status_code == 401, path
        mine, theirs = ({"authorization": f"Bearer {token}"} for token in keys.values())
        async with door.http(headers=mine) as http:
            drawn = await draw(http, HARD)
            path = f"/v1/gems/trajectories/{drawn['trajectory']}"
            assert (await http.get(path)).status_code == 200
            assert len((await http.get("/v1/gems/lessons?q=elephants")).json()["lessons"]) > 0
            assert len((await http.get("/v1/gems/runs")).json()["runs"]) == 1
        async with door.http(headers=theirs) as http:
            for hidden in (path, f"{path}/images/1-1", f"/v1/gems/runs/{drawn['run']}"):
                assert (await http.get(hidden)).status_code == 404, hidden
            assert (await http.get("/v1/gems/lessons?q=elephants")).json() == {"lessons": []}
            assert (await http.get("/v1/gems/history?q=elephants")).json() == {"trajectories": [], "next": None}
            assert (await http.post(f"/v1/gems/runs/{drawn['run']}", json={"action": "pause"})).status_code == 404
            assert (await http.get("/v1/gems/runs")).json()["runs"] == []
