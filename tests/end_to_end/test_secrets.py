"""API keys, passwords in addresses and secret keys: in no output, log, status, record or row, however servers fail."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import started

pytestmark = pytest.mark.slow

API_KEY, PASSWORD = "sk-averysecretkey", "hunter2password"


def test_no_secret_is_printed_logged_or_recorded(tmp_path: Path) -> None:
    """A server repeats the key and its address in every failure, as some do."""
    answers = 0

    def repeating(fields: dict[str, Any]) -> Answer:
        nonlocal answers
        answers += 1
        if "fox" not in str(fields.get("prompt")):
            return drawn(fields)
        body = {"error": {"message": f"bad key {API_KEY} at http://someone:{PASSWORD}@host/v1"}}
        return Answer(json.dumps(body).encode(), (400, 401, 500)[answers % 3])

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open_server(ScriptedServer(repeating)) as server:
        address = server.url.replace("://", f"://someone:{PASSWORD}@")
        settings = f'[image]\nbackend = "openai"\nmodel = "m"\nurl = "{address}"\napi_key_env = "THE_KEY"\n'
        assert run_gems(tmp_path, "keys", "new", "keys").returncode == 0
        (tmp_path / "mesh.toml").write_text(
            f'data_dir = "data"\n[log]\nlevel = "debug"\n[security]\nkey = "keys/router.key"\n'
            f'allowed = "keys/allowed.toml"\n[router]\naddress = "tcp://127.0.0.1:{port}"\n{settings}'
        )
        (tmp_path / "wrong.toml").write_text(settings.replace("127.0.0.1", "127.0.0.1 "))
        (tmp_path / "tasks.txt").write_text("a red fox\na blue bowl\n")
        more, router = {"THE_KEY": API_KEY}, ("--router", f"ipc://{tmp_path}/gems-actors/router.ipc")
        outputs = []
        with started(
            [*COMMAND, "up", "mesh.toml"], cwd=tmp_path, env=environment(tmp_path, **more),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as mesh:  # fmt: skip
            assert mesh.stdout is not None
            assert "mesh ready" in mesh.stdout.readline(), mesh.communicate()
            for words in [
                ("draw", "a red fox", "--config", "mesh.toml", *router),
                ("bulk", "tasks.txt", "--out", "out", "--config", "mesh.toml", "--wait-for-servers", "0"),
                ("status", "--json", *router),
                ("status", *router),
                ("runs", *router),
                ("memory", "tail", "--json", *router),
                ("doctor", "--config", "mesh.toml"),
                ("draw", "a fox", "--config", "wrong.toml"),
                ("history", "--json"),
            ]:
                done = run_gems(tmp_path, *words, more=more)
                assert "Traceback" not in done.stderr
                outputs.append(f"{words}\n{done.stdout}\n{done.stderr}")
            commands = [
                path.read_bytes().decode(errors="replace")
                for pid in Path("/proc").glob("[0-9]*")
                if (path := pid / "cmdline").exists() and "gems" in (pid / "comm").read_text()
            ]
            mesh.terminate()
            outputs += [*commands, *mesh.communicate()]
    keys = [path.read_text().splitlines()[-1] for path in (tmp_path / "keys").glob("*.key")]
    assert len(keys) == 4
    own = {tmp_path / "mesh.toml", tmp_path / "wrong.toml"}
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path not in own and path.suffix != ".key"]
    texts = outputs + [path.read_bytes().decode("latin-1") for path in files]
    assert answers
    assert any("***" in text for text in texts), "the failures are shown"
    for text in texts:
        for secret in (API_KEY, PASSWORD, *keys):
            assert secret not in text, text[:2000]
