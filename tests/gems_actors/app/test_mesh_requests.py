"""Requests of interactive commands: where no mesh answers, the error says which ones run on this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.mesh_requests import ask_mesh
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.config import NO_KEYS
from gems_actors.errors import MeshUnavailableError
from protocol.messages import ReadStatus

pytestmark = pytest.mark.slow

NOWHERE = "ipc:///nowhere/router.ipc"


@pytest.mark.parametrize(
    ("addresses", "hint"),
    [
        ([], "answered within 2 s"),
        ([NOWHERE], "answered within 2 s"),
        (["ipc:///tmp/a.ipc"] * 2, "answered within 2 s; running on this host: ipc:///tmp/a.ipc; see --router"),
    ],
)
async def test_where_no_router_answers_the_meshes_of_this_host_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, addresses: list[str], hint: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(MeshUnavailableError) as caught:
        await _ask_with([RegistryEntry(address=address) for address in addresses])
    assert str(caught.value).endswith(hint)


async def _ask_with(entries: list[RegistryEntry]) -> None:
    if entries:
        with registered(entries[0]):
            await _ask_with(entries[1:])
    else:
        await ask_mesh(NOWHERE, NO_KEYS, ReadStatus())
