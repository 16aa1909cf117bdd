"""Checks the installation, the settings, and the folders and servers that they name, with advice for each failure.

It must run where packages are missing, so most imports are in the checks that need them.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import structs

from actors.memory_store.filesystem import is_network, kind_of_mount
from gems_actors.addresses import MAX_IPC_PATH_BYTES, split_addresses
from gems_actors.app.model_pairing import pairing_warnings
from gems_actors.app.options import read_config
from gems_actors.app.picture_files import OutputError, check_writable
from gems_actors.backends.proxies import check_network
from gems_actors.config import (
    MESH_BLOBS,
    ChatModelConfig,
    ChatServerConfig,
    GatewayConfig,
    ImageConfig,
    MeshConfig,
    SecurityConfig,
    load_code,
)
from gems_actors.errors import BlobError, ConfigError, MeshUnavailableError, RequestError
from gems_actors.files import os_reason
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.terminal_text import without_passwords
from protocol.blobs import blob_address
from skills import Catalogue

_MESH_S = 1.0
_SERVER_S = 5.0
_CHAT_S = 60.0
_STORE_S = 15.0
_PROBE = b"gems doctor was here\n"
_STORE_ADVICE = {
    "file": "mount the folder, or name another with --set blobs=file:///FOLDER",
    "s3": "see [s3] in deploy/mesh.toml, and the environment's AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "mesh": "start the mesh with blobs = 'mesh:', and open the port 100 above the router's",
}

CheckState = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """The result of one check."""

    state: CheckState
    what: str
    found: str
    advice: str = ""
    """What to do; empty if there is nothing to do."""


def examine(
    config_file: Path | None, overrides: Sequence[str], router: str | None, preset: str | None = None
) -> Iterator[Finding]:
    """Yield the findings of all checks of the settings that these options select."""
    yield Finding("ok", "Python", f"{sys.version.split()[0]} at {sys.executable}")
    yield from _packages()
    yield _sqlite()
    yield _zeromq()
    yield _models()
    try:
        config = read_config(config_file, overrides, preset)
    except ConfigError as error:
        yield Finding("fail", "configuration", str(error), "correct it; the checks below use the defaults")
        config = MeshConfig()
    else:
        chosen = "" if preset is None else f", preset {preset}"
        yield Finding("ok", "configuration", f"{config_file or 'defaults, environment and flags'}{chosen}")
    yield _folder("runtime folder", config.runtime_path, "router.runtime_dir")
    yield _socket_path(config)
    yield _folder("data folder", config.data_path, "data_dir")
    yield _file_system(config.data_path)
    yield _mesh(router or config.local_address, config.security)
    if config.blobs is not None:
        yield _pictures(config, config.blobs, router or config.local_address)
    yield from _own_code(config)
    if config.gateway.address is not None:
        yield _gateway(config.gateway)
    yield from _skills(config)
    if config.image.backend == "diffusers" and config.image.model is not None:
        yield _pipeline(config.image.model)
    if config.verify.text == "ocr":
        yield _ocr()
    yield from _network(config)
    if config.image.url is not None:
        yield _image_server(config.image)
    yield from _chats(config)
    for warning in pairing_warnings(config):
        yield Finding("warn", "models", warning)


def _packages() -> Iterator[Finding]:
    """Check the requirements in the metadata of the installed package."""
    for requirement in requires("gems-actors") or ():
        if "extra ==" not in requirement:
            name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
            try:
                yield Finding("ok", name, version(name))
            except PackageNotFoundError:
                yield Finding("fail", name, "not installed", f"pip install '{requirement}'")


def _sqlite() -> Finding:
    try:
        import apsw

        from actors.memory_store.index_db import OLDEST_SQLITE
    except ImportError as error:
        return Finding("fail", "SQLite", str(error), "pip install apsw")
    found = apsw.sqlite_lib_version()
    if tuple(map(int, found.split("."))) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        return Finding("fail", "SQLite", found, f"expected {oldest} or later: pip install --upgrade apsw")
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
    """Check torch and diffusers; torch takes seconds to import, so it is loaded only if both are installed."""
    what = "torch, diffusers"
    if missing := [name for name in ("torch", "diffusers") if find_spec(name) is None]:
        install = "needed only to draw on a GPU of this host: pip install 'gems-actors[diffusers]'"
        return Finding("ok", what, f"{' and '.join(missing)} not installed", install)
    try:
        torch = importlib.import_module("torch")
        has_cuda = torch.cuda.is_available()
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("warn", what, f"torch does not load: {' '.join(str(error).split())}", "reinstall torch")
    found = f"{version('torch')}, {version('diffusers')}"
    if not has_cuda:
        return Finding("warn", what, f"{found}, no CUDA", "check the driver with nvidia-smi, or use another backend")
    return Finding("ok", what, f"{found}, CUDA on {torch.cuda.get_device_name(0)}")


def _skills(config: MeshConfig) -> Iterator[Finding]:
    """Check the configured folders of skills, which the planner skips if they are missing or empty."""
    for folder in config.skills.folders:
        catalogue = Catalogue([Path(folder).expanduser()])
        count, skipped = len(catalogue.skills()), catalogue.skipped()
        if skipped:
            yield Finding("warn", "skills", f"{skipped[0].path}: {skipped[0].reason}", "`gems skills check` says more")
        elif not count:
            yield Finding("warn", "skills", f"{folder} has none", "name a folder with skills in skills.folders")
        else:
            yield Finding("ok", "skills", f"{count} in {folder}")


def _pipeline(model: str) -> Finding:
    index = Path(model) / "model_index.json"
    if Path(model).is_dir() and not index.is_file():
        return Finding("fail", "image model", f"{model} has no model_index.json", "name a folder that diffusers saved")
    if not index.is_file():
        return Finding("ok", "image model", f"{model} is not a folder on this host; it is loaded from the hub")
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
    if size <= MAX_IPC_PATH_BYTES:
        return Finding("ok", "socket path", f"{size} bytes")
    advice = f"expected at most {MAX_IPC_PATH_BYTES}; choose a shorter router.runtime_dir"
    return Finding("fail", "socket path", f"{size} bytes", advice)


def _file_system(path: Path) -> Finding:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError as error:
        return Finding(
            "warn", "data disk", f"/proc/self/mountinfo: {os_reason(error)}", "check that it is a local disk"
        )
    kind = kind_of_mount(os.path.realpath(path), mounts) or "unknown"
    if is_network(kind):
        return Finding("fail", "data disk", kind, "memory's log needs a local disk: --set data_dir=FOLDER")
    if kind == "tmpfs":
        return Finding("warn", "data disk", kind, "all pictures and records are lost when this host restarts")
    return Finding("ok", "data disk", kind)


def _pictures(config: MeshConfig, blobs: str, router: str) -> Finding:
    """Store a few bytes, always the same, where pictures are stored, and read them back."""
    import trio

    from gems_actors.blobs import blob_store

    what = "pictures"
    served_at = blob_address(split_addresses(router)[0])
    if blobs == MESH_BLOBS and not _may_exist(served_at):
        return Finding("ok", what, f"served at {served_at} once the mesh runs")

    async def try_store() -> None:
        store = blob_store(config, router)
        with trio.move_on_after(_STORE_S):
            async with store.open():
                await store.get(await store.put(_PROBE, media_type="text/plain", width_px=16, height_px=16))
                return
        raise BlobError(f"expected a reply from {blobs} within {_STORE_S:g} s, got none")

    try:
        trio.run(try_store)
    except (BlobError, ConfigError) as error:
        return Finding("fail", what, str(error), _STORE_ADVICE[blobs.partition(":")[0]])
    return Finding("ok", what, f"stored and read back at {blobs}")


def _may_exist(address: str) -> bool:
    return not address.startswith("ipc://") or Path(address.removeprefix("ipc://")).exists()


def _own_code(config: MeshConfig) -> Iterator[Finding]:
    """Import the code of the user that the settings name."""
    from gems_actors.supervision.child_main import load_actor

    built_in = {spec.actor for spec in BUILT_IN_ROLES.values()}
    named = {f"roles.{name}.actor": spec.actor for name, spec in config.role_specs.items()}
    named |= {f"{table}.backend": model.backend for table, model in config.chat_models().items()}
    for setting, name in (named | {"image.backend": config.image.backend}).items():
        if ":" in name and name not in built_in:
            try:
                if setting.startswith("roles."):
                    load_actor(setting.split(".")[1], config)
                else:
                    load_code(setting, name, config.import_path)
                yield Finding("ok", setting, f"{name} can be imported")
            except ConfigError as error:
                yield Finding("fail", setting, str(error), "correct the setting or the code")


def _gateway(settings: GatewayConfig) -> Finding:
    """Check that a gateway could start, without the address, at which one may listen already."""
    package = "gems_actors.gateway"
    try:
        load_code("gateway", f"{package}.http_server:open_http_server", ())
        tokens = load_code("gateway", f"{package}.tokens:Tokens", ())(settings)
    except ConfigError as error:
        return Finding("fail", "gateway", str(error), "pip install 'gems-actors[gateway]', or correct the setting")
    return Finding("ok", "gateway", f"can serve {settings.url} {'with' if tokens.are_needed else 'without'} tokens")


def _ocr() -> Finding:
    """Check the reader of texts, which a verifier opens."""
    what = "reader of texts"
    try:
        import rapidocr_onnxruntime  # noqa: F401 -- find_spec would not notice a missing libGL
    except ImportError as error:
        advice = (
            "pip install 'gems-actors[ocr]'; without libGL also opencv-python-headless; or set verify.text to model"
        )
        return Finding("fail", what, str(error), advice)
    return Finding("ok", what, f"RapidOCR {version('rapidocr-onnxruntime')} can be imported")


def _network(config: MeshConfig) -> Iterator[Finding]:
    """Check what the environment says about proxies and certificates, where the model servers need it."""
    try:
        check_network(config)
    except ConfigError as error:
        yield Finding("fail", "network", str(error))


def _image_server(config: ImageConfig) -> Finding:
    import trio

    from gems_actors.backends.failover import LateError, UnreachableError
    from gems_actors.backends.probe import probe_images

    what = "image server"
    try:
        models = trio.run(probe_images, structs.replace(config, timeout_s=_SERVER_S))
    except (UnreachableError, LateError, ConfigError) as error:
        return Finding("fail", what, str(error), "start the server, or correct image.url")
    found = f"{without_passwords(config.url or '')} answers" + (f", with {', '.join(models)}" if models else "")
    if config.backend == "gems":
        found = f"{found}; it takes a prompt and nothing else, so its pictures cannot be drawn again from their seed"
    return Finding("ok", what, found)


def _chats(config: MeshConfig) -> Iterator[Finding]:
    """Check each chat server once, even if several roles use it."""
    tried: set[tuple[str | None, str | None]] = set()
    for table, model in config.chat_models().items():
        for index, server in enumerate((model, *model.fallbacks) if model.backend == "openai" else ()):
            if (server.url, server.model) not in tried:
                tried.add((server.url, server.model))
                yield _chat(f"{table}.fallbacks[{index - 1}]" if index else table, server, model)


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
        return Finding("fail", what, str(error), "name a model that the server has and that accepts pictures")
    shown = ", ".join(probe.models[:3]) + (f" and {len(probe.models) - 3} more" if len(probe.models) > 3 else "")
    where = without_passwords(server.url or "")
    found = f"{where}{f' with {shown}' if shown else ''}; asked if a red picture is red: {probe.answer}"
    found = f"{found}; {', '.join(probe.features)}"
    if not probe.answer.lower().startswith("yes"):
        return Finding("warn", what, found, "check that the model accepts pictures, and its chat template")
    return Finding("ok", what, found)


def _mesh(address: str, security: SecurityConfig) -> Finding:
    none = Finding("ok", "mesh", f"none at {address}", "`gems draw` starts its own; `gems up` runs one")
    if not _may_exist(address):
        return none
    try:
        import trio

        from gems_actors.client import open_client
        from protocol.messages import ReadStatus
    except ImportError as error:
        return Finding("fail", "mesh", str(error), "install what is missing above")

    async def look() -> str:
        async with open_client(address, connect_within_s=_MESH_S, security=security) as mesh:
            with trio.move_on_after(_MESH_S):
                roles = (await mesh.ask(ReadStatus())).roles
                return f"{sum(len(role.actors) for role in roles)} actors at {address}"
        return f"the router at {address} does not answer"

    try:
        return Finding("ok", "mesh", trio.run(look))
    except ConfigError as error:
        return Finding("fail", "mesh", str(error), "check [security] in the settings, and `gems keys`")
    except (MeshUnavailableError, RequestError) as error:
        if not address.startswith("tcp:"):  # the default address, where no mesh needs to run
            return none
        return Finding("warn", "mesh", str(error), "check that the mesh is running, and its keys")
