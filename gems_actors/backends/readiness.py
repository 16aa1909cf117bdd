"""Readiness of a model server before the first real request: whether it answers, and accepts the key and the model.

Costs at most one token: a server is asked for the list of its models, and only a chat server whose list does not have
the configured one is asked a question. Each request is sent once; the caller decides how long to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import trio
from msgspec import structs

from gems_actors.backends.failover import BusyError, LateError, UnreachableError
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.config import ChatServerConfig, ModelServerConfig
from gems_actors.errors import ConfigError, RequestError

_LIST_S: Final = 10.0
_QUESTION_S: Final = 30.0
_MAX_BYTES: Final = 4 * 1024 * 1024
_NO_ACCESS: Final = (401, 402, 403)
_NO_MODEL: Final = (400, 422)
"""Statuses, besides 404, with which gateways such as LiteLLM answer for a model that they do not have."""
_LOADING: Final = (429, 502, 503, 504)
"""Statuses of a server that is not ready yet, or of a gateway in front of one."""
_MAX_LISTED: Final = 5
_MAX_TOLD_CHARS: Final = 1_000


class NotReadyError(Exception):
    """A server is not ready yet; the text says what it does instead."""


async def check_ready(kind: str, table: str, server: ModelServerConfig) -> dict[str, Any]:
    """Return once a server is ready: any answer counts but that of a loading server, and a refusal of the key or model.

    The result is what the server tells of the model, such as its id; empty if it tells nothing.

    Args:
        kind: kind of server in messages, `chat` or `image`.
        table: table of its settings, such as `chat.roles.verifier`.
        server: its settings.

    Raises:
        NotReadyError: the server cannot be reached, or answers that it is not ready.
        ConfigError: the server refuses the key or has no such model, or the key cannot be read.
    """
    timeout_s = min(server.timeout_s, _QUESTION_S)
    async with open_model_server(kind, table, structs.replace(server, timeout_s=timeout_s)) as connection:
        listed = await _models_of(connection, table, server)
        is_listed = listed is not None and (server.model is None or server.model in listed)
        if isinstance(server, ChatServerConfig) and not is_listed:
            await _ask_word(connection, table, server, tuple(listed or ()))
    return _told_of(server.model, listed or {})


def _told_of(model: str | None, listed: Mapping[str, _Model]) -> dict[str, Any]:
    """Return what a server tells of the configured model, or of its only one."""
    if model is None and len(listed) == 1:
        (model,) = listed
    if model is None or model not in listed:
        return {}
    told = msgspec.to_builtins(listed[model])
    return {name: value for name, value in told.items() if value is not None}


async def _models_of(connection: ModelServer, table: str, server: ModelServerConfig) -> dict[str, _Model] | None:
    """Return the models that a server lists, by their names; None if it has no list."""
    body = b""
    try:
        with trio.move_on_after(_LIST_S) as scope:
            body = await connection.get("models", max_bytes=_MAX_BYTES)
    except RequestError as error:
        _raise_unless_ready(connection, table, server, error)
        return None
    if scope.cancelled_caught:
        raise NotReadyError(f"{connection.name}: expected an answer within {_LIST_S:g} s, got none")
    try:
        return {item.id: item for item in msgspec.json.decode(body, type=_Models).data}
    except (ValueError, RecursionError):
        return None


async def _ask_word(connection: ModelServer, table: str, server: ModelServerConfig, listed: tuple[str, ...]) -> None:
    """Ask for one token; a server that takes long over it is ready, because it has accepted the question."""
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": "Answer: yes."}], "max_tokens": 1}
    if server.model is not None:
        fields["model"] = server.model
    try:
        await connection.post("chat/completions", fields, max_bytes=_MAX_BYTES)
    except LateError:
        return
    except RequestError as error:
        _raise_unless_ready(connection, table, server, error)
        if connection.status == 404 or (connection.status in _NO_MODEL and listed):
            shown = ", ".join(listed[:_MAX_LISTED]) + (" and more" if len(listed) > _MAX_LISTED else "")
            advice = f"it lists {shown}" if listed else f"check {table}.url and {table}.model"
            where = f"{table}.model: expected a model that the server has, got {server.model!r}"
            raise ConfigError(f"{where}: {error}; {advice}") from error


def _raise_unless_ready(connection: ModelServer, table: str, server: ModelServerConfig, error: RequestError) -> None:
    if connection.status in _NO_ACCESS:
        if server.api_key_env is None and server.api_key_file is None:
            where = f"{table}.api_key_env: expected the name of a variable with the server's key, got none"
        else:
            source = "api_key_file" if server.api_key_env is None else "api_key_env"
            where = f"{table}.{source}: expected a key that the server accepts"
        raise ConfigError(f"{where}: {error}") from error
    is_silent = not connection.status or isinstance(error, UnreachableError | LateError | BusyError)
    if is_silent or connection.status in _LOADING:
        raise NotReadyError(str(error)) from error


class _Model(msgspec.Struct):
    """A model in the list of a server; vLLM and SGLang fill all fields."""

    id: Annotated[str, msgspec.Meta(max_length=_MAX_TOLD_CHARS)]
    root: Annotated[str, msgspec.Meta(max_length=_MAX_TOLD_CHARS)] | None = None
    owned_by: Annotated[str, msgspec.Meta(max_length=_MAX_TOLD_CHARS)] | None = None
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]
