"""What a client may rely on, over real sockets."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import trio
import trio.testing

from gems_actors.actor import Actor, answers, current_call
from gems_actors.call_context import Call, answering
from gems_actors.client import Mesh, open_client
from gems_actors.config import RouterConfig
from gems_actors.errors import (
    CancelledRequestError,
    InternalError,
    MeshUnavailableError,
    ModelOutputError,
    OverloadedError,
    RefusedError,
    RequestError,
    UnansweredError,
    UsageError,
)
from gems_actors.tasks import open_background
from protocol.envelope import Header, Kind, Lane
from protocol.identity import run_bytes
from protocol.messages import (
    ActorJoined,
    ControlRun,
    DecomposePrompt,
    Event,
    Plan,
    PlanPrompt,
    ReadStatus,
    Reply,
    ReportLoss,
    Request,
    Requirements,
    StepTaken,
    TrajectoryFailed,
)
from protocol.messages import Failure as WireFailure
from tests.gems_actors.meshes import Echo, Inner, open_local_mesh


async def test_a_request_is_answered_by_the_role_of_its_class(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Echo, "a")
        async with open_client(local.address) as mesh:
            assert await mesh.ask(PlanPrompt(prompt="hello")) == Plan(prompt="hello!")


async def test_a_failure_is_raised_as_the_same_exception_and_the_actor_lives_on(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Echo, "a")
        async with open_client(local.address) as mesh:
            with pytest.raises(ModelOutputError, match="got soup"):
                await mesh.ask(PlanPrompt(prompt="babble"))
            with pytest.raises(InternalError, match="KeyError"):
                await mesh.ask(PlanPrompt(prompt="crash"))
            with pytest.raises(InternalError, match="does not fit the wire"):
                await mesh.ask(PlanPrompt(prompt="large"))
            assert await mesh.ask(PlanPrompt(prompt="hello")) == Plan(prompt="hello!")


class Spelling(Reply, frozen=True, kw_only=True):
    text: str


class SpellWord(Request[Spelling], frozen=True, kw_only=True):
    role: ClassVar[str] = "speller"
    text: str


class Speller(Actor):
    role = "speller"

    @answers
    async def spell(self, request: SpellWord) -> Spelling:
        return Spelling(text=f"{request.text}: {'-'.join(request.text)}")


class Impostor(Actor):
    role = "impostor"

    @answers
    async def spell(self, request: SpellWord) -> Spelling:
        return Plan(prompt="not a spelling")  # type: ignore[return-value]


async def test_a_request_type_that_only_actor_and_client_know_is_answered(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local, open_client(local.address) as mesh:
        await local.add(Speller, "a")
        assert await mesh.ask(SpellWord(text="fox")) == Spelling(text="fox: f-o-x")


async def test_another_role_can_be_asked_and_must_give_the_declared_reply(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local, open_client(local.address) as mesh:
        await local.add(Impostor, "a")
        with pytest.raises(InternalError, match=r"impostor: TypeError: .*: expected Spelling, got Plan"):
            await mesh.ask(SpellWord(text="fox"), role="impostor")


async def test_a_request_type_without_a_handler_is_unanswered(tmp_path: Path) -> None:
    class Deaf(Echo):
        role = "decomposer"

    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Deaf, "a")
        async with open_client(local.address) as mesh:
            with pytest.raises(UnansweredError, match="DecomposePrompt"):
                await mesh.ask(DecomposePrompt(prompt="x"))


async def test_the_caller_s_deadline_and_cancellation_reach_the_handler(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        running = await local.add(Echo, "a")
        async with open_client(local.address) as mesh:
            with trio.move_on_after(0.2):
                await mesh.ask(PlanPrompt(prompt="hang one"))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(mesh.ask, PlanPrompt(prompt="hang two"))
                    await running.echo.seen(begun=2)
                    scope.cancel()
            await running.echo.seen(cancelled=2)
            assert await mesh.ask(PlanPrompt(prompt="hello")) == Plan(prompt="hello!")


async def test_closing_a_client_cancels_its_requests(tmp_path: Path) -> None:
    patient = RouterConfig(heartbeat_s=1.0, silence_s=60.0)  # the router notices by itself only after the test
    async with open_local_mesh(str(tmp_path), patient) as local:
        running = await local.add(Echo, "a")

        async def ask() -> None:
            async with open_client(local.address) as mesh:
                await mesh.ask(PlanPrompt(prompt="hang"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await running.echo.seen(begun=1)
            nursery.cancel_scope.cancel()
        await running.echo.seen(cancelled=1)


async def test_asking_in_a_cancelled_scope_is_cancelled(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local, open_client(local.address) as mesh:
        with trio.CancelScope() as scope:
            scope.cancel()
            await mesh.ask(PlanPrompt(prompt="hello"))
        assert scope.cancelled_caught


async def test_a_graceful_stop_reaches_the_handler_although_the_router_is_replaced(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        running = await local.add(Echo, "a")
        stop = trio.Event()
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:

            async def ask() -> None:
                assert await mesh.ask(PlanPrompt(prompt="wind"), stop_gracefully=stop) == Plan(prompt="wind!")

            nursery.start_soon(ask)
            await running.echo.seen(begun=1)
            await local.kill_router()
            stop.set()
            await local.start_router()
        assert running.echo.begun == {"wind": 1}


async def test_a_graceful_stop_reaches_the_handler_and_its_answer_returns(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        running = await local.add(Echo, "a")
        stop = trio.Event()
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:

            async def ask() -> None:
                assert await mesh.ask(PlanPrompt(prompt="wind"), stop_gracefully=stop) == Plan(prompt="wind!")

            nursery.start_soon(ask)
            await running.echo.seen(begun=1)
            stop.set()


async def test_nested_requests_inherit_lane_run_and_time_left(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Echo, "a")
        inner = await local.add(Inner, "b")
        async with open_client(local.address) as mesh:
            with trio.move_on_after(10):
                await mesh.ask(PlanPrompt(prompt="nested"), lane=Lane.BULK)
        header = inner.actors[0].header  # type: ignore[attr-defined]
        assert header.lane is Lane.BULK
        assert 5_000 < header.time_left_ms <= 10_000


async def test_events_reach_only_followers_of_the_run(tmp_path: Path) -> None:
    class Teller(Echo):
        async def _plan(self, prompt: str) -> Plan:
            failure = WireFailure(code="backend", message=prompt)
            self.mesh.publish(StepTaken(record=TrajectoryFailed(trajectory="0" * 32, failure=failure)))
            return Plan(prompt=prompt)

    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Teller, "a")
        heard: list[Event] = []
        async with (
            open_client(local.address) as mesh,
            open_client(local.address) as other,
            mesh.events("mine") as mine,
            other.events("yours") as yours,
        ):
            await other.ask(PlanPrompt(prompt="both have subscribed once this is answered"))
            await _ask_in_run(mesh, "mine")
            heard.append(await mine.receive())
            await _ask_in_run(mesh, "yours")
            heard.append(await yours.receive())
            with pytest.raises(trio.WouldBlock):
                mine.receive_nowait()
        assert [event.record.failure.message for event in heard] == ["mine", "yours"]  # type: ignore[attr-defined]


async def test_a_client_that_was_removed_as_silent_follows_its_runs_again(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        await local.add(Echo, "a")
        async with (
            open_client(local.address, name="stalled") as mesh,
            mesh.events("mesh") as events,
            open_client(local.address) as other,
        ):
            await mesh.ask(PlanPrompt(prompt="subscribed once this is answered"))
            await other.ask(ReportLoss(name="stalled"))
            await mesh.ask(PlanPrompt(prompt="which makes it say hello again"))
            await mesh.ask(PlanPrompt(prompt="and subscribed once this is answered"))
            await local.add(Echo, "b")
            assert await events.receive() == ActorJoined(name="b", role="planner")


async def _ask_in_run(mesh: Mesh, run: str) -> None:
    """Send a request as a handler that answers a request of this run."""
    with answering(Call(Header(Kind.REQUEST, run=run_bytes(run)))):
        await mesh.ask(PlanPrompt(prompt=run))


@pytest.mark.slow
async def test_a_paused_run_stays_paused_when_the_router_is_replaced(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        running = await local.add(Echo, "a")
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:
            await mesh.ask(ControlRun(run="mine", action="pause", by="alice"))
            nursery.start_soon(_ask_in_run, mesh, "mine")
            await _ask_in_run(mesh, "yours")
            await local.kill_router()
            await local.start_router()
            await _ask_in_run(mesh, "others")
            state = mesh.run_state("mine")
            assert state is not None
            assert (state.state, state.by) == ("paused", "alice")
            while not any(role.paused for role in (await mesh.ask(ReadStatus())).roles):  # noqa: ASYNC110
                await trio.sleep(0.02)  # the new router first waits for an actor that may hold the repeated request
            assert set(running.echo.begun) == {"yours", "others"}
            async with open_client(local.address) as late:
                assert late.run_state("mine") is not None
                assert (await late.ask(ControlRun(run="mine", action="resume"))).before == "paused"
        assert running.echo.begun == {"yours": 1, "others": 1, "mine": 1}


async def test_cancelling_a_run_cancels_its_requests_and_their_nested_requests(tmp_path: Path) -> None:
    begun, stopped = trio.Event(), trio.Event()
    reasons: list[str] = []

    class Stuck(Inner):
        @answers
        async def decompose(self, request: DecomposePrompt) -> Requirements:
            begun.set()
            try:
                await trio.sleep_forever()
            finally:
                reasons.append(current_call().cancel_reason)
                stopped.set()
            raise AssertionError

    async with open_local_mesh(str(tmp_path)) as local:
        outer = await local.add(Echo, "a")
        await local.add(Stuck, "b")
        async with open_client(local.address) as mesh, open_client(local.address) as other:

            async def cancel() -> None:
                await begun.wait()
                done = await other.ask(ControlRun(run="nested", action="cancel", by="alice"))
                assert (done.waiting, done.in_hand) == (0, 2)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel)
                with pytest.raises(CancelledRequestError, match="the run was cancelled by alice"):
                    await _ask_in_run(mesh, "nested")
            await outer.echo.seen(cancelled=1)
            await stopped.wait()
            assert reasons == ["the run was cancelled by alice"]
            with pytest.raises(CancelledRequestError):
                await _ask_in_run(mesh, "nested")
            state = mesh.run_state("nested")
            assert state is not None
            assert state.state == "cancelled"


async def test_requests_to_an_overloaded_role_are_retried(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path), RouterConfig(max_queue=1)) as local:
        running = await local.add(Echo, "a", capacity=1)
        running.echo.go.set()
        async with open_client(local.address) as mesh, trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(mesh.ask, PlanPrompt(prompt=f"wait {number}"))
        assert sorted(running.echo.begun) == [f"wait {number}" for number in range(4)]


async def test_a_client_may_be_told_of_an_overloaded_role_at_once(tmp_path: Path) -> None:
    async with (
        open_local_mesh(str(tmp_path), RouterConfig(max_queue=1)) as local,
        open_client(local.address) as mesh,
        open_background() as nursery,
    ):
        nursery.start_soon(mesh.ask, PlanPrompt(prompt="waits, because nobody plays the role"))
        while not (await mesh.ask(ReadStatus())).roles:  # noqa: ASYNC110
            await trio.sleep(0.01)  # no event tells of it
        with pytest.raises(OverloadedError):
            await mesh.ask(PlanPrompt(prompt="one too many"), retries_overload=False)


@pytest.mark.slow
@pytest.mark.parametrize("address", ["ipc:///nowhere/at/all.ipc", "tcp://127.0.0.1:1"])
async def test_without_a_router_the_error_names_the_address(address: str) -> None:
    with pytest.raises(MeshUnavailableError, match=f"{address}: expected a router"):
        async with open_client(address, connect_within_s=0.2):
            pass


class Weigh(Request[Plan], frozen=True, kw_only=True):
    """A user's request whose fields have the names of ours and other types."""

    role: ClassVar[str] = "planner"
    run: int = 5
    trajectory: str | None = None
    text: str = ""


@pytest.mark.parametrize(
    ("request_", "role", "text"),
    [
        (Weigh(trajectory="no hexadecimal digits"), None, "Weigh cannot be sent: non-hexadecimal number"),
        (Weigh(), "Bad Name", "Weigh cannot be sent: .*role"),
        (Weigh(text="x" * 5_000_000), None, "Weigh cannot be sent: expected a message of at most"),
        (Weigh(text="\ud800"), None, "Weigh cannot be sent: Weigh: expected text"),
        (PlanPrompt(prompt=""), None, "PlanPrompt cannot be sent: PlanPrompt: Expected `str` of length >= 1"),
        (Weigh(run="five"), None, "Weigh cannot be sent: Weigh: Expected `int`, got `str` - at `\\$.run`"),  # type: ignore[arg-type]
    ],
)
async def test_a_request_that_does_not_fit_the_wire_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, request_: Request[Plan], role: str | None, text: str
) -> None:
    async with open_local_mesh(str(tmp_path)) as local, open_client(local.address) as mesh:
        with pytest.raises(RefusedError, match=text):
            await mesh.ask(request_, role=role)
        assert mesh.requests_in_flight == ()


async def test_a_name_that_does_not_fit_the_wire_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="expected a name of at most 200 characters, got 201"):
        async with open_client("ipc:///nowhere", name="x" * 201):
            pass


async def test_an_invalid_address_is_refused_in_one_line() -> None:
    with pytest.raises(MeshUnavailableError, match="expected an address"):
        async with open_client("carrier-pigeon"):
            pass


async def test_an_exception_of_the_block_is_raised_as_itself(tmp_path: Path) -> None:
    async with open_local_mesh(str(tmp_path)) as local:
        with pytest.raises(RequestError, match="mine"):
            async with open_client(local.address):
                raise RequestError("mine")
