"""The model servers of a run, which come and go: it waits for them at the start and later, for a limited time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import trio

from gems_actors.app.bulk.running.outage import Outage
from gems_actors.app.picture_files import OutputError
from gems_actors.backends.failover import RetryPolicy
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig, ModelServerConfig
from gems_actors.errors import BlobError, LogError, RefusedError, RequestError
from gems_actors.tasks import gather
from protocol.messages import ReadStatus, RoleStatus

WAIT_S: Final = 600.0
"""Seconds that a run waits for servers by default."""
_RETRY: Final = RetryPolicy(first_backoff_s=1.0)
_MAX_TRIES: Final = 5
"""Tries of a task after which its failure is its own, if the servers completed other tasks during each of them."""
_POLL_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 5.0
_NOTED_S: Final = 1.0
"""Time without an answer after which a view tells of it; a busy server is silent for less."""

AnswerT = TypeVar("AnswerT")


class LeftUndoneError(Exception):
    """The run ends while a task waits for servers; the next run draws it."""


class _Model(NamedTuple):
    """A model that roles of this mesh ask, with the servers that have it, in order of preference."""

    kind: str
    table: str
    servers: tuple[ModelServerConfig, ...]


def server_models(config: MeshConfig) -> Iterator[_Model]:
    """Yield each model that the roles which this mesh starts ask at a server; other hosts see other servers."""
    if config.image.backend in ("openai", "gems") and config.role("generator").count:
        yield _Model("image", "image", (config.image,))
    models = config.chat_models()
    roles_of = {table: {table.removeprefix("chat.roles.")} for table in models if table.startswith("chat.roles.")}
    roles_of["chat"] = set(config.chat_roles).difference(*roles_of.values())
    roles_of["verify.second_opinion"] = {"verifier"}
    for table, model in models.items():
        if model.backend == "openai" and any(config.role(role).count for role in roles_of[table]):
            yield _Model("chat", table, (model, *model.fallbacks))


class Servers:
    """Waits for the servers of one run, and stops the run when it has waited too long.

    Without settings, those of a mesh that runs elsewhere, nothing is waited for at the start.
    """

    def __init__(self, config: MeshConfig | None, wait_s: float, say: Callable[[str], None]) -> None:
        self.scope = trio.CancelScope()
        """Scope of everything that needs the servers; cancelled when the run stops because of them."""
        self.stopped = ""
        """Why the run stops; empty while it goes on."""
        self.told: dict[str, dict[str, Any]] = {}
        """What the first ready server of each model told of it, by the table of its settings."""
        self._models = [] if config is None else list(server_models(config))
        self._wait_s, self._say = wait_s, say
        self._outage = Outage(wait_s)
        self._is_ending = trio.Event()
        self._began_to_wait = 0.0
        self._not_ready: dict[str, str] = {}

    def note(self) -> str:
        """Return which servers are waited for, and for how long already; empty while none are."""
        since = self._began_to_wait if self._not_ready else self._outage.since()
        waited_s = 0.0 if since is None else trio.current_time() - since
        if waited_s < _NOTED_S:
            return ""
        reasons = "; ".join(self._not_ready.values()) or self._outage.reason
        return f"waiting for servers, {waited_s:.0f} of {self._wait_s:.0f} s: {reasons}"

    async def end_at(self, reason: trio.Event) -> None:
        """Retry no task after `reason` is set, because it ends the run."""
        await reason.wait()
        self._is_ending.set()

    # --------------------------------------------------------------------------------------------- at the start

    async def wait_until_ready(self) -> None:
        """Wait until each model has a server that is ready; stop the run if that takes too long.

        Raises:
            ConfigError: a server refuses the key or the model.
        """
        models, self._models = self._models, []
        if not models:
            return
        self._began_to_wait = trio.current_time()
        await gather(*(partial(self._wait_for, model) for model in models))
        if self._not_ready:
            self._stop(f"no server was ready within {self._wait_s:g} s: {'; '.join(self._not_ready.values())}")
        self._not_ready = {}

    async def _wait_for(self, model: _Model) -> None:
        """Ask the servers of a model until one of them is ready, or the time is over."""
        from gems_actors.backends.readiness import NotReadyError, check_ready  # loads httpx

        pause_s = 0.5
        while True:
            reasons = []
            for index, server in enumerate(model.servers):
                table = f"{model.table}.fallbacks[{index - 1}]" if index else model.table
                try:
                    told = await check_ready(model.kind, table, server)
                except NotReadyError as error:
                    reasons.append(str(error))
                    continue
                self._not_ready.pop(model.table, None)
                self.told[table] = {"url": server.url, **told}
                return
            if model.table not in self._not_ready:
                self._say(f"waiting up to {self._wait_s:g} s for servers: {'; '.join(reasons)}")
            self._not_ready[model.table] = "; ".join(reasons)
            left_s = self._began_to_wait + self._wait_s - trio.current_time()
            if left_s <= 0.0:
                return
            await trio.sleep(min(pause_s, left_s))
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    # --------------------------------------------------------------------------------------------- while it runs

    async def keep_asking(self, ask: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Return the answer of `ask`, which is repeated with backoff after a failure that the servers caused.

        Raises:
            RequestError: the request failed for another reason, or always while the servers completed others.
            LeftUndoneError: the run ends.
        """
        tries = retries = 0
        while True:
            answers = self._outage.answers
            try:
                answer = await self.stop_at_bad_disk(ask)
            except RequestError as error:
                if not error.is_outage:
                    raise
                tries += self._outage.answers > answers
                if tries >= _MAX_TRIES:
                    raise
                self._outage.fail(trio.current_time(), str(error), is_refusal=isinstance(error, RefusedError))
                self._check()
            else:
                self._outage.succeed(trio.current_time())
                return answer
            with trio.move_on_after(_RETRY.backoff_s(retries)):
                await self._is_ending.wait()
            if self._is_ending.is_set():
                raise LeftUndoneError
            retries += 1

    async def stop_at_bad_disk(self, work: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """Return the result of `work`; a disk that fails stops the run, because nobody mends it while the run waits.

        Raises:
            LeftUndoneError: a picture or a record could not be written or read.
        """
        try:
            return await work()
        except (BlobError, LogError, OutputError) as error:
            if not (error.is_of_disk if isinstance(error, OutputError) else error.is_outage):
                raise
            self._stop(str(error))
            raise LeftUndoneError from error

    async def watch(self, mesh: Mesh) -> None:
        """Follow for how long the requests of each role have failed, and stop the run when that is too long."""
        while True:
            await trio.sleep(_POLL_S)
            with suppress(RequestError):
                failing_s, reason = _longest_failing((await mesh.ask(ReadStatus())).roles)
                self._outage.observe(trio.current_time(), failing_s, reason)
            self._check()

    def _check(self) -> None:
        now, since = trio.current_time(), self._outage.since()
        if since is not None and self._outage.is_over(now):
            self._stop(f"no server has answered for {now - since:.0f} s: {self._outage.reason}")

    def _stop(self, why: str) -> None:
        if not self.stopped:
            self.stopped = why
            self.scope.cancel()


def _longest_failing(roles: tuple[RoleStatus, ...]) -> tuple[float, str]:
    """Return for how long the requests of an actor have failed at most, and what it says about that."""
    found = [(actor.figures.get("failing_s", 0.0), actor) for role in roles for actor in role.actors]
    failing_s, actor = max(found, key=lambda item: item[0], default=(0.0, None))
    if actor is None or not failing_s:
        return 0.0, ""
    return failing_s, f"{actor.role}: {actor.note or 'every request fails'}"
