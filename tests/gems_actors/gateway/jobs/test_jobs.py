"""Jobs: pictures that outlive a request and a gateway."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from gems_actors.errors import BackendError, RefusedError
from tests.gems_actors.gateway.doors import PROMPT, Events, open_drawing_door, open_painted_door

JOBS = "/v1/gems/jobs"


async def until_over(http: httpx.AsyncClient, id_: str) -> Any:
    """Return a job once it is over."""
    while (job := (await http.get(f"{JOBS}/{id_}")).json())["status"] == "running":  # noqa: ASYNC110
        await trio.sleep(0.05)
    return job


async def test_a_job_draws_a_batch_after_its_request_was_answered(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path) as door, door.http() as http:
        body = {"prompts": [PROMPT, {"prompt": "one blue bird", "seed": 9}], "n": 2, "gems": {"rounds": 2}}
        begun = await http.post(JOBS, json=body)
        assert begun.status_code == 202
        assert begun.headers["location"] == f"{JOBS}/{begun.json()['id']}"
        job = await until_over(http, begun.json()["id"])
        assert job["status"] == "completed"
        assert job["counts"] == {"total": 4, "waiting": 0, "done": 4, "failed": 0}
        assert [(item["index"], item["sample"]) for item in job["pictures"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert job["pictures"][2]["seed"] == 9
        for item in job["pictures"]:
            assert item["rounds"]
            assert item["gems"]["run"] == job["run"]
            for url in (item["url"], item["rounds"][0]["url"]):
                assert (await http.get(url)).content.startswith(b"\x89PNG")
        listed = (await http.get(JOBS)).json()
        assert [item["id"] for item in listed["data"]] == [job["id"]]
        archive = zipfile.ZipFile(io.BytesIO((await http.get(f"{JOBS}/{job['id']}/zip")).content))
        assert archive.testzip() is None
        assert archive.namelist() == ["0000-0.png", "0000-1.png", "0001-0.png", "0001-1.png", "job.json"]
        assert json.loads(archive.read("job.json"))["counts"] == job["counts"]


@pytest.mark.slow
async def test_a_picture_that_fails_leaves_the_others(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        painter.refused["bad"] = RefusedError("not this")
        job = await until_over(http, (await http.post(JOBS, json={"prompts": ["good", "bad"]})).json()["id"])
        assert (job["status"], job["counts"]["failed"]) == ("completed", 1)
        assert job["pictures"][1]["error"]["code"] == "refused"
        failed = await until_over(http, (await http.post(JOBS, json={"prompt": "bad"})).json()["id"])
        assert failed["status"] == "failed"


async def test_a_job_that_is_cancelled_withdraws_its_pictures_and_keeps_those_that_are_drawn(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path, "gateway.max_draws=10") as (door, painter), door.http() as http:
        painter.hold = trio.Event()
        id_ = (await http.post(JOBS, json={"prompts": [f"cat {number}" for number in range(30)]})).json()["id"]
        await painter.until(lambda: len(painter.begun) == 10)
        assert (await http.delete(f"{JOBS}/{id_}")).json()["status"] == "cancelled"
        await painter.until(lambda: painter.withdrawn == 10)
        assert len(painter.begun) == 10
        assert (await http.delete(f"{JOBS}/{id_}")).json()["status"] == "cancelled"
        painter.hold = None
        other = await until_over(http, (await http.post(JOBS, json={"prompt": PROMPT})).json()["id"])
        assert other["status"] == "completed"


async def test_what_failed_is_drawn_again_on_demand_and_nothing_else(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        painter.refused["bad"] = BackendError("away")
        id_ = (await http.post(JOBS, json={"prompts": ["good", "bad"]})).json()["id"]
        assert (await until_over(http, id_))["counts"]["failed"] == 1
        async with door.lines("GET", f"{JOBS}/{id_}/events", **{"last-event-id": "x-1"}) as lines:
            events = Events(lines)
            await events.next("job.snapshot")
        painter.refused.clear()
        refused = await http.post(f"{JOBS}/{id_}/retry", json={"seed": 3})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "seed")
        again = await http.post(f"{JOBS}/{id_}/retry", json={})
        assert (again.status_code, again.json()["status"]) == (202, "running")
        job = await until_over(http, id_)
        assert (job["status"], job["counts"]["done"]) == ("completed", 2)
        assert job["pictures"][1]["error"] is None
        assert sorted(task.prompt for task in painter.begun) == ["bad", "bad", "good"]
        async with door.lines("GET", f"{JOBS}/{id_}/events", **{"last-event-id": events.id}) as lines:
            later = Events(lines)
            names = []
            while name := (await later.next())[0]:
                names.append(name)
            assert (names[0], names[-1]) == ("job.retried", "job.ended")
        whole = (await http.post(f"{JOBS}/{id_}/retry", json={})).json()
        assert whole["status"] == "completed", "nothing is left to draw"
        assert (await http.post(f"{JOBS}/job-none/retry", json={})).status_code == 404


async def test_a_job_whose_run_was_cancelled_goes_on_when_it_is_retried(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        painter.hold = trio.Event()
        job = (await http.post(JOBS, json={"prompts": ["one", "two"]})).json()
        await painter.until(lambda: len(painter.begun) == 2)
        await http.post(f"/v1/gems/runs/{job['run']}", json={"action": "cancel"})
        cancelled = await until_over(http, job["id"])
        assert [item["error"]["code"] for item in cancelled["pictures"]] == ["cancelled", "cancelled"]
        painter.hold.set()
        await http.post(f"{JOBS}/{job['id']}/retry", json={})
        assert (await until_over(http, job["id"]))["counts"]["done"] == 2


async def test_events_tell_each_round_and_go_on_where_a_client_was_cut_off(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        painter.rounds, painter.hold = 2, trio.Event()
        id_ = (await http.post(JOBS, json={"prompt": PROMPT})).json()["id"]
        async with door.lines("GET", f"{JOBS}/{id_}/events") as lines:
            events = Events(lines)
            name, snapshot = await events.next()
            assert (name, snapshot["id"]) == ("job.snapshot", id_)
            known = {item["round"] for item in snapshot["pictures"][0]["rounds"]}
            while known != {1, 2}:
                name, told = await events.next("picture.round")
                known.add(told["round"])
            assert (await http.get(told["url"])).status_code == 200
        painter.hold.set()
        await until_over(http, id_)
        async with door.lines("GET", f"{JOBS}/{id_}/events", **{"last-event-id": events.id}) as lines:
            later = Events(lines)
            assert [(await later.next())[0] for _ in range(3)] == ["picture.done", "job.ended", ""]
        done = await http.get(f"{JOBS}/{id_}/events", headers={"last-event-id": later.id})
        assert done.status_code == 204, "so that a browser does not connect again"
        async with door.lines("GET", f"{JOBS}/{id_}/events", **{"last-event-id": "another-1"}) as lines:
            name, snapshot = await Events(lines).next()
            assert (name, snapshot["status"]) == ("job.snapshot", "completed")


@pytest.mark.slow
async def test_a_gateway_that_is_replaced_goes_on_with_its_jobs(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        painter.held_prompts = {"cat 1", "cat 2"}
        painter.hold = trio.Event()
        body = {"prompts": [f"cat {number}" for number in range(3)]}
        id_ = (await http.post(JOBS, json=body, headers={"idempotency-key": "k"})).json()["id"]
        while (await http.get(f"{JOBS}/{id_}")).json()["counts"]["done"] != 1:  # noqa: ASYNC110
            await trio.sleep(0.05)
        file = tmp_path / "data" / "gateway" / "jobs" / f"{id_}.json"
        while b'"done"' not in file.read_bytes():  # noqa: ASYNC110
            await trio.sleep(0.05)
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        job = await until_over(http, id_)
        assert (job["status"], job["counts"]["done"]) == ("completed", 3)
        assert {task.prompt for task in painter.begun} == {"cat 1", "cat 2"}
        same = await http.post(JOBS, json=body, headers={"idempotency-key": "k"})
        assert same.json()["id"] == id_
        other = await http.post(JOBS, json={"prompt": "x"}, headers={"idempotency-key": "k"})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "key_reused")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "expected either it or prompt"),
        ({"prompt": "a", "prompts": ["b"]}, "expected either it or prompt"),
        ({"prompts": []}, "1 to 1000 pictures"),
        ({"prompts": ["a"] * 1001}, "1 to 1000 pictures"),
        ({"prompts": ["a", ""]}, "prompts[1]: prompt: expected a prompt"),
        ({"prompts": [{"prompt": "a", "sede": 1}]}, "did you mean seed?"),
        ({"prompts": "a"}, "prompts: expected a list"),
        ({"prompt": "a", "stream": True}, "stream: expected it with the Images API only"),
        ({"prompts": ["a"] * 11, "n": 10, "gems": {"rounds": 10}}, "up to 1000 images, got 1100"),
        ({"prompt": "a", "webhook": {"url": "http://evil/", "secret": "x"}}, "one of these hosts (hooks.example.org)"),
        ({"prompt": "a", "webhook": {"url": "ftp://hooks.example.org/", "secret": "x"}}, "one of these hosts"),
        ({"prompt": "a", "webhook": {"url": "http://hooks.example.org/", "secret": "whsec_eA=="}}, "at least 16 bytes"),
    ],
)
@pytest.mark.slow
async def test_a_body_that_is_wrong_is_explained(tmp_path: Path, body: dict[str, Any], text: str) -> None:
    settings = ("gateway.max_job_images=1000", "gateway.webhook_hosts=['hooks.example.org']")
    async with open_painted_door(tmp_path, *settings) as (door, painter):
        answer = await door.post(JOBS, body)
        assert answer.status_code == 400
        assert text in answer.json()["error"]["message"]
        assert not painter.begun


async def test_a_caller_sees_its_own_jobs_only(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text('[alice]\ntoken = "0123456789abcdef"\n[bob]\ntoken = "fedcba9876543210"\n')
    tokens.chmod(0o600)
    alice, bob = ({"authorization": f"Bearer {token}"} for token in ("0123456789abcdef", "fedcba9876543210"))
    async with open_painted_door(tmp_path, f"gateway.tokens={tokens}") as (door, _), door.http() as http:
        id_ = (await http.post(JOBS, json={"prompt": PROMPT}, headers=alice)).json()["id"]
        for path in ("", "/events", "/zip", "/pictures/0-0.png"):
            assert (await http.get(f"{JOBS}/{id_}{path}", headers=bob)).status_code == 404
        assert (await http.delete(f"{JOBS}/{id_}", headers=bob)).status_code == 404
        assert (await http.get(JOBS, headers=bob)).json()["data"] == []
        assert (await http.get(f"{JOBS}/{id_}", headers=alice)).status_code == 200
        assert (await http.get(f"{JOBS}/{id_}")).status_code == 401


async def test_paths_of_pictures_lead_nowhere_else(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as http:
        id_ = (await http.post(JOBS, json={"prompt": PROMPT})).json()["id"]
        await until_over(http, id_)
        for name in ("0-1.png", "0-0.jpeg", "0-0-9.png", "..%2f..%2fx.png", "0-0.png%00"):
            assert (await http.get(f"{JOBS}/{id_}/pictures/{name}")).status_code == 404
        assert (await http.get(f"{JOBS}/..%2f..%2fetc%2fpasswd")).status_code == 404
