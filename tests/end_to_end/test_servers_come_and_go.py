"""`gems bulk` with chat and image servers that start late, restart, refuse prompts, or stay away."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest

from gems_actors.os_process import EXIT_CONFIG
from tests.end_to_end.test_chat_servers import answer
from tests.gems_actors.backends.chats import completion
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems, summary_in
from tests.processes import started

pytestmark = pytest.mark.slow

RECORDS: Final = 60
AWAY_S: Final = 1.5
NO_PROXY: Final = {"NO_PROXY": "127.0.0.1"}


def draw_slowly(fields: dict[str, Any]) -> Answer:
    """Draw a picture in a twentieth of a second, and refuse every prompt that is told to be refused."""
    if "forbidden" in fields["prompt"]:
        return Answer(b'{"error": {"message": "rejected by the safety system"}}', 400)
    picture = drawn(fields)
    picture.delay_s = 0.05
    return picture


class Servers:
    """A chat server and an image server at ports that stay the same while both come and go."""

    def __init__(self) -> None:
        self.chat, self.image = ScriptedServer(answer_what_is_met), ScriptedServer(draw_slowly)
        self._ports = [_free_port(), _free_port()]

    @property
    def flags(self) -> list[str]:
        """Options of a command that uses these servers."""
        chat, image = (f"http://127.0.0.1:{port}/v1" for port in self._ports)
        values = ["chat.backend=openai", f"chat.url={chat}", "verify.mode=words", "image.backend=openai"]
        values += [f"image.url={image}", "draw.width_px=64", "draw.height_px=64"]
        return [word for value in values for word in ("--set", value)]

    @contextmanager
    def open(self) -> Iterator[None]:
        """Run both servers during the block."""
        with ExitStack() as stack:
            for server, port in zip((self.chat, self.image), self._ports, strict=True):
                stack.enter_context(open_server(server, port))
            yield


def answer_what_is_met(fields: dict[str, Any]) -> Answer:
    """Answer each role; the planner repeats the prompt, and every requirement is met."""
    if isinstance(fields["messages"][-1]["content"], list):  # a question about a picture
        return completion("yes")
    return answer(fields)


def _free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a .jsonl file, without one that is still being written; none if there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def read_until_it_waits(output: IO[str]) -> None:
    """Read the output of a run until it says that it waits for its servers."""
    while line := output.readline():
        if line.startswith("waiting up to 600 s for servers: "):
            return
    raise AssertionError("it did not wait")


def test_records_are_drawn_although_servers_start_late_restart_twice_and_refuse_some(tmp_path: Path) -> None:
    """Only the refused records fail."""
    servers = Servers()
    prompts = [f"{'a forbidden' if number % 20 == 7 else 'a red'} dog {number}" for number in range(RECORDS)]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    metadata = tmp_path / "out/dataset/metadata.jsonl"
    command = [*COMMAND, "bulk", "prompts.txt", "--out", "out", "--concurrency", "6", "--rounds", "1", *servers.flags]
    surroundings, began = environment(tmp_path, **NO_PROXY), time.monotonic()
    with started(command, cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        read_until_it_waits(process.stderr)
        time.sleep(2 * AWAY_S)  # the servers are still loading
        assert process.poll() is None
        for enough in (RECORDS // 4, RECORDS // 2, RECORDS):
            with servers.open():
                while len(lines_of(metadata)) < enough and process.poll() is None:
                    time.sleep(0.02)
            time.sleep(AWAY_S)  # the servers restart
        output = process.stderr.read()
        assert process.wait(60) == 1, output
    seconds = re.search(r"^seconds +([\d.]+)", output, re.MULTILINE)
    assert seconds is not None
    assert float(seconds[1]) < time.monotonic() - began - 2 * AWAY_S, "without the wait at the start"
    assert [row["prompt"] for row in lines_of(metadata)] == [prompt for prompt in prompts if "red" in prompt]
    failed = lines_of(tmp_path / "out/failed.jsonl")
    assert sorted(row["prompt"] for row in failed) == sorted(prompt for prompt in prompts if "forbidden" in prompt)
    assert {row["class"] for row in failed} == {"refused"}


def test_a_run_whose_servers_stay_away_stops_with_75_and_the_same_command_continues(tmp_path: Path) -> None:
    servers = Servers()
    (tmp_path / "prompts.txt").write_text("a red dog\n" * 20)
    arguments = ["bulk", "prompts.txt", "--out", "out", "--concurrency", "2", "--rounds", "1", *servers.flags]
    metadata, failed = tmp_path / "out/dataset/metadata.jsonl", tmp_path / "out/failed.jsonl"
    command, surroundings = [*COMMAND, *arguments, "--wait-for-servers", "5"], environment(tmp_path, **NO_PROXY)
    with started(command, cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE) as process:
        with servers.open():
            while len(lines_of(metadata)) < 4:
                assert process.poll() is None
                time.sleep(0.02)
        assert process.stderr is not None
        output = process.stderr.read()
        assert process.wait(60) == 75, output
    done = len(lines_of(metadata))
    last = output.splitlines()[-1]
    assert last.startswith("gems: no server has answered for ")
    assert last.endswith(f": {done} of 20 done, {20 - done} left; the same command continues")
    assert lines_of(failed) == []

    away = run_gems(tmp_path, *arguments, "--wait-for-servers", "0", more=NO_PROXY)
    assert (away.returncode, lines_of(failed)) == (75, [])
    assert "gems: no server was ready within 0 s: " in away.stderr.splitlines()[-1]
    with servers.open():
        back = run_gems(tmp_path, *arguments, "--json", more=NO_PROXY)
    assert (back.returncode, summary_in(back.stdout)["pictures"]) == (0, 20)
    finished = run_gems(tmp_path, *arguments, more=NO_PROXY)
    assert finished.returncode == 0, "a finished run needs no server"


def test_a_wait_for_servers_ends_with_ctrl_c_and_with_a_refused_key(tmp_path: Path) -> None:
    servers = Servers()
    (tmp_path / "prompts.txt").write_text("a red dog\n")
    arguments = ["bulk", "prompts.txt", "--out", "out", *servers.flags]
    surroundings = environment(tmp_path, **NO_PROXY)
    with started([*COMMAND, *arguments], cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        read_until_it_waits(process.stderr)
        process.send_signal(signal.SIGINT)
        output = process.stderr.read()
        assert process.wait(60) == 130
    assert output.endswith("gems: interrupted: 0 of 1 done, 1 left; the same command continues\n")
    servers.chat.files["/v1/models"] = Answer(b'{"error": {"message": "Incorrect API key provided"}}', 401)
    with servers.open():
        refused = run_gems(tmp_path, *arguments, more=NO_PROXY)
    assert refused.returncode == EXIT_CONFIG
    line = "gems: chat.api_key_env: expected the name of a variable with the server's key, got none: chat server at "
    assert refused.stderr.splitlines()[-1].startswith(line)
    assert refused.stderr.endswith(": answered 401: Incorrect API key provided\n")
    assert lines_of(tmp_path / "out/failed.jsonl") == []
