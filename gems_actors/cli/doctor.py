"""`gems doctor`: what is installed, reachable and writable, and what to do about the rest."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import click
from msgspec import structs

from actors.memory_store.filesystem import is_network, kind_of_mount
from gems_actors.addresses import split_addresses
from gems_actors.app.options import read_config
from gems_actors.app.picture_files import OutputError, check_writable, encode_json
from gems_actors.cli.exit_codes import DONE, FAILED
from gems_actors.cli.options import config_option, json_option, router_option, set_option
from gems_actors.config import MESH_BLOBS, ChatModelConfig, ChatServerConfig, MeshConfig, SecurityConfig
from gems_actors.errors import BlobError, ConfigError, MeshUnavailableError, RequestError
from gems_actors.transport.bind import MAX_IPC_PATH_BYTES
from protocol.blobs import blob_address

_MIN_SQLITE = (3, 51, 3)
_LOOK_S = 1.0
_SERVER_S = 5.0
_CHAT_S = 60.0
_STORE_S = 15.0
_PROBE = b"gems doctor was here\n"
_STORE_ADVICE = {
    "file": "mount the folder, or name another with --set blobs=file:///FOLDER",
    "s3": "see [s3] in deploy/mesh.toml, and the environment's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "mesh": "start the mesh with blobs = 'mesh:', and open the port 100 above the router's",
}

State = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    state: State
    what: str
    found: str
    advice: str = ""
    """What to do; empty where nothing need be done."""


@click.command()
@config_option
@set_option
@router_option
@json_option
def doctor(config_file: Path | None, overrides: tuple[str, ...], router: str | None, as_json: bool) -> int:
    """Say what is installed, reachable and writable, and what to do about the rest."""
    findings = list(_examine(config_file, overrides, router))
    if as_json:
        click.echo(encode_json([finding._asdict() for finding in findings]))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            advice = f": {finding.advice}" if finding.advice else ""
            click.echo(f"{finding.state:<4}  {finding.what:<{width}}  {finding.found}{advice}")
    failures = sum(finding.state == "fail" for finding in findings)
    if failures:
        click.echo(f"gems: {failures} of {len(findings)} checks failed", err=True)
    return FAILED if failures else DONE


def _examine(config_file: Path | None, overrides: tuple[str, ...], router: str | None) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _sqlite()
    yield _zeromq()
    yield _models()
    try:
        config = read_config(config_file, overrides)
    except ConfigError as error:
        yield Finding("fail", "configuration", str(error), "correct it; the checks below use the defaults")
        config = MeshConfig()
    else:
        yield Finding("ok", "configuration", str(config_file or "defaults, environment and flags"))
    yield _folder("runtime folder", config.runtime_path, "router.runtime_dir")
    yield _socket_path(config)
    yield _folder("data folder", config.data_path, "data_dir")
    yield _file_system(config.data_path)
    yield _mesh(router or config.local_address, config.security)
    if config.blobs is not None:
        yield _pictures(config, config.blobs, router or config.local_address)
    if config.image.backend == "diffusers" and config.image.model is not None:
        yield _pipeline(config.image.model)
    if config.image.url is not None:
        yield _server("image", config.image.url)
    yield from _chats(config)


def _python() -> Finding:
    return Finding("ok", "Python", f"{sys.version.split()[0]} at {sys.executable}")


def _packages() -> Iterator[Finding]:
    """What the installed package says it needs, not a list of our own that grows old."""
    for requirement in requires("gems-actors") or ():
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            yield Finding("fail", name, "not installed", f"pip install '{requirement}'")


def _sqlite() -> Finding:
    wanted = ".".join(map(str, _MIN_SQLITE))
    try:
        import apsw
    except ImportError as error:
        return Finding("fail", "SQLite", str(error), "pip install apsw")
    found = apsw.sqlite_lib_version()
    if tuple(map(int, found.split("."))) < _MIN_SQLITE:
        return Finding("fail", "SQLite", found, f"expected {wanted} or later: pip install --upgrade apsw")
    return Finding("ok", "SQLite", f"{found} (in apsw)")


def _zeromq() -> Finding:
    try:
        import zmq
    except ImportError as error:
        return Finding("fail", "ZeroMQ", str(error), "pip install pyzmq")
    if not zmq.has("ipc"):
        return Finding("fail", "ZeroMQ", f"{zmq.zmq_version()} without ipc", "install a pyzmq built with ipc")
    return Finding("ok", "ZeroMQ", zmq.zmq_version())


def _models() -> Finding:
    """Torch takes seconds to import, so only where it is installed."""
    missing = [name for name in ("torch", "diffusers") if find_spec(name) is None]
    what = "torch, diffusers"
    if missing:
        install = "only for drawing on a GPU of this host: pip install 'gems-actors[diffusers]'"
        return Finding("ok", what, f"{' and '.join(missing)} not installed", install)
    try:
        torch = importlib.import_module("torch")
        has_cuda = torch.cuda.is_available()
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("warn", what, f"torch cannot be loaded: {' '.join(str(error).split())}", "install it again")
    found = f"{version('torch')}, {version('diffusers')}"
    if not has_cuda:
        return Finding("warn", what, f"{found}, no CUDA", "check the driver with nvidia-smi, or keep to other backends")
    return Finding("ok", what, f"{found}, CUDA on {torch.cuda.get_device_name(0)}")


def _pipeline(model: str) -> Finding:
    index = Path(model) / "model_index.json"
    if Path(model).is_dir() and not index.is_file():
        return Finding(
            "fail", "image model", f"{model} has no model_index.json", "name a folder as diffusers saves one"
        )
    if not index.is_file():
        return Finding("ok", "image model", f"{model} is no folder here, so it is asked of the hub")
    try:
        kind = json.loads(index.read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{index}: {type(error).__name__}: {' '.join(str(error).split())}"
        return Finding("fail", "image model", found, "save or copy the pipeline again")
    return Finding("ok", "image model", f"{kind} in {model}")


def _folder(what: str, path: Path, key: str) -> Finding:
    try:
        check_writable(path)
    except OutputError as error:
        return Finding("fail", what, str(error), f"choose another with --set {key}=FOLDER")
    return Finding("ok", what, f"{path} is writable")


def _socket_path(config: MeshConfig) -> Finding:
    size = len(os.fsencode(config.router_addresses[-1].partition(",")[0].removeprefix("ipc://")))
    found = f"{size} bytes"
    if size > MAX_IPC_PATH_BYTES:
        advice = f"expected at most {MAX_IPC_PATH_BYTES}; choose a shorter router.runtime_dir"
        return Finding("fail", "socket path", found, advice)
    return Finding("ok", "socket path", found)


def _file_system(path: Path) -> Finding:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError as error:
        return Finding("warn", "data disk", f"/proc/self/mountinfo: {error.strerror}", "see that it is a local disk")
    kind = kind_of_mount(os.path.realpath(path), mounts) or "unknown"
    if is_network(kind):
        return Finding("fail", "data disk", kind, "memory's log needs a local disk: --set data_dir=FOLDER")
    if kind == "tmpfs":
        return Finding("warn", "data disk", kind, "what is drawn is gone after a restart of this host")
    return Finding("ok", "data disk", kind)


def _pictures(config: MeshConfig, blobs: str, router: str) -> Finding:
    """Put a few bytes, always the same, where pictures rest, and get them back."""
    import trio

    from gems_actors.blobs import blob_store

    what = "pictures"
    served_at = blob_address(split_addresses(router)[0])
    if blobs == MESH_BLOBS and not _is_there(served_at):
        return Finding("ok", what, f"served at {served_at} once the mesh runs")

    async def try_out() -> None:
        store = blob_store(config, router)
        with trio.move_on_after(_STORE_S):
            async with store.open():
                await store.get(await store.put(_PROBE, media_type="text/plain", width_px=16, height_px=16))
                return
        raise BlobError(f"expected an answer of {blobs} within {_STORE_S:g} s, got none")

    try:
        trio.run(try_out)
    except (BlobError, ConfigError) as error:
        return Finding("fail", what, str(error), _STORE_ADVICE[blobs.partition(":")[0]])
    return Finding("ok", what, f"stored and read again at {blobs}")


def _is_there(address: str) -> bool:
    return not address.startswith("ipc://") or Path(address.removeprefix("ipc://")).exists()


def _server(name: str, url: str) -> Finding:
    import httpx

    what = f"{name} server"
    try:
        response = httpx.get(f"{url.rstrip('/')}/models", timeout=_SERVER_S)
        models = [str(item["id"]) for item in response.json()["data"]] if response.status_code == 200 else []
    except httpx.HTTPError as error:
        found = f"{url}: {type(error).__name__}: {' '.join(str(error).split())}"
        return Finding("fail", what, found, f"start the server, or correct {name}.url")
    except (ValueError, KeyError, TypeError):
        models = []
    return Finding("ok", what, f"{url} answers" + (f", with {', '.join(models)}" if models else ""))


def _chats(config: MeshConfig) -> Iterator[Finding]:
    """Try each server once, whichever roles ask it."""
    tried: set[tuple[str | None, str | None]] = set()
    for table, model in config.chat_models().items():
        for place, server in enumerate((model, *model.fallbacks) if model.backend == "openai" else ()):
            if (server.url, server.model) not in tried:
                tried.add((server.url, server.model))
                yield _chat(f"{table}.fallbacks[{place - 1}]" if place else table, server, model)


def _chat(table: str, server: ChatServerConfig, model: ChatModelConfig) -> Finding:
    import trio

    from gems_actors.backends.failover import UnreachableError
    from gems_actors.backends.probe import probe_chat

    what = "chat server" if table == "chat" else f"chat server of {table}"
    server = structs.replace(server, timeout_s=min(server.timeout_s, _CHAT_S))
    try:
        probe = trio.run(probe_chat, table, server, model)
    except (UnreachableError, ConfigError) as error:
        return Finding("fail", what, str(error), f"start the server, or correct {table}")
    except RequestError as error:
        return Finding("fail", what, str(error), "name a model that the server has and that sees pictures")
    shown = ", ".join(probe.models[:3]) + (f" and {len(probe.models) - 3} more" if len(probe.models) > 3 else "")
    found = f"{server.url}{f' with {shown}' if shown else ''}; of a red picture, whether it is red: {probe.answer}"
    found = f"{found}; {', '.join(probe.features)}"
    if not probe.answer.lower().startswith("yes"):
        return Finding("warn", what, found, "see that the model sees, and knows its chat template")
    return Finding("ok", what, found)


def _mesh(address: str, security: SecurityConfig) -> Finding:
    nobody = Finding("ok", "mesh", f"none at {address}", "`gems draw` starts its own; `gems up` runs one")
    if not _is_there(address):
        return nobody
    try:
        import trio

        from gems_actors.client import open_client
        from protocol.messages import ReadStatus
    except ImportError as error:
        return Finding("fail", "mesh", str(error), "install what is missing above")

    async def look() -> str:
        async with open_client(address, connect_within_s=_LOOK_S, security=security) as mesh:
            with trio.move_on_after(_LOOK_S):
                roles = (await mesh.ask(ReadStatus())).roles
                return f"{sum(len(role.actors) for role in roles)} actors at {address}"
        return f"the router at {address} does not answer"

    try:
        return Finding("ok", "mesh", trio.run(look))
    except ConfigError as error:
        return Finding("fail", "mesh", str(error), "see [security] of the configuration, and `gems keys`")
    except (MeshUnavailableError, RequestError) as error:
        is_elsewhere = address.startswith("tcp:")  # where somebody said that there is one
        return Finding("warn", "mesh", str(error), "see that it runs, and its keys") if is_elsewhere else nobody
