"""Code is named by the operator alone: no message, whatever it contains, makes any process import anything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import trio
import zmq
from msgspec import structs

from gems_actors.client import open_client
from gems_actors.config import MeshConfig, load_config
from gems_actors.errors import ConfigError, RefusedError
from gems_actors.supervision.child_main import load_actor
from gems_actors.supervision.supervisor import open_supervisor
from protocol.codec import BODIES, encode_body
from protocol.envelope import Header, Kind, pack_header, unpack_header
from protocol.messages import Hello, ScaleRole

NAMES = ("planted", "planted:Role", "planted:open_model")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with a module that leaves a mark when it is imported, as every process of the mesh could."""
    with tempfile.TemporaryDirectory(prefix="gems-") as name:  # a socket's path must be short
        folder = Path(name)
        (folder / "planted.py").write_text("from pathlib import Path\nPath(__file__).with_suffix('.mark').touch()\n")
        monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
        yield folder


def config_of(folder: Path, *settings: str) -> MeshConfig:
    return load_config(None, {}, [f"data_dir={folder}/data", f"router.runtime_dir={folder}/run", *settings])


def bodies() -> Iterator[bytes]:
    """Yield a body of every type whose every field is the name of the module, as a text and in a list."""
    for name, kind in BODIES.items():
        fields = [field.encode_name for field in structs.fields(kind)]
        for text in NAMES:
            for value in (text, [text]):
                yield msgpack.packb({"type": name, **dict.fromkeys(fields, value)})


def send_everything(address: str, roles: tuple[str, ...]) -> None:
    """Send every body to every role as a stranger would, and return when all requests are answered."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.DEALER) as sender:
        sender.setsockopt(zmq.RCVTIMEO, 60_000)
        sender.connect(address)
        for body in bodies():
            sender.send(pack_header(Header(Kind.HELLO, role="planted")) + body)
            sender.send(pack_header(Header(Kind.HELLO)) + encode_body(Hello(name="stranger")))
            waiting = {os.urandom(16): role for role in roles}
            for id_, role in waiting.items():
                sender.send(pack_header(Header(Kind.REQUEST, id=id_, role=role)) + body)
            while waiting:
                waiting.pop(unpack_header(sender.recv()).id, None)


@pytest.mark.slow
async def test_no_message_makes_a_process_import_what_it_names(folder: Path) -> None:
    async with open_supervisor(config_of(folder)) as supervisor:
        await supervisor.ready()
        roles = (*MeshConfig().role_specs, "router", "supervisor")
        await trio.to_thread.run_sync(send_everything, supervisor.address, roles)
        async with open_client(supervisor.address) as mesh:
            for name in NAMES:
                with pytest.raises(RefusedError):
                    await mesh.ask(ScaleRole(scaled_role=name, count=1))
    assert not (folder / "planted.mark").exists()


def test_a_setting_of_the_operator_does_import_what_it_names(folder: Path) -> None:
    config = config_of(folder, "roles.planted.actor=planted:Role", f"import_path=['{folder}']")
    with pytest.raises(ConfigError, match=r"^roles\.planted\.actor: .* got AttributeError: module 'planted' has no"):
        load_actor("planted", config)
    assert (folder / "planted.mark").exists()


@pytest.mark.parametrize("name", ["planted", "planted:Role"])
def test_a_child_plays_no_role_that_its_settings_do_not_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^role: expected one of conductor, .*, got '{name}'"):
        load_actor(name, MeshConfig())
