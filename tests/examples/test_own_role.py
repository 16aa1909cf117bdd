"""The example of an own role works from a folder outside the project: supervised, scaled, and over tcp with keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gems_actors import (
    DrawPicture,
    DrawSettings,
    ForbiddenError,
    Mesh,
    ReadStatus,
    ReadTrajectory,
    open_client,
)
from gems_actors.supervision.supervisor import open_supervisor
from protocol.messages import PlanPrompt
from tests.examples.outside import GEMS, config_of, free_port, keys_of, outside, run
from tests.examples.own_role.translator import TranslatePrompt, Translation
from tests.processes import environment, started

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    with outside("own_role") as folder:
        yield folder


async def actors_of(mesh: Mesh, role: str) -> int:
    return sum(len(found.actors) for found in (await mesh.ask(ReadStatus())).roles if found.role == role)


async def until_there(mesh: Mesh, role: str, count: int) -> None:
    async with mesh.events("mesh") as events:
        while await actors_of(mesh, role) != count:
            await events.receive()


async def test_an_own_role_is_supervised_scaled_and_shown_like_a_built_in_one(folder: Path) -> None:
    async with open_supervisor(config_of(folder)) as supervisor:
        await supervisor.ready()
        async with open_client(supervisor.address) as mesh:
            assert await mesh.ask(TranslatePrompt(text="eine rote Katze")) == Translation(text="a red cat")
            status = await run(folder, "status", "--config", "mesh.toml")
            assert "\ntranslator " in status
            await run(folder, "status", "--check", "translator", "--config", "mesh.toml")
            scaled = await run(folder, "scale", "translator=2", "--config", "mesh.toml")
            assert scaled == "translator: 1 -> 2\n"
            await until_there(mesh, "translator", 2)


async def test_every_prompt_passes_through_an_own_role_before_it_is_planned(folder: Path) -> None:
    async with open_supervisor(config_of(folder)) as supervisor:
        await supervisor.ready()
        async with open_client(supervisor.address) as mesh:
            settings = DrawSettings(max_rounds=1, width_px=64, height_px=64)
            drawn = DrawPicture(run="night", prompt="ein roter Fuchs", seed=7, settings=settings)
            await mesh.ask(drawn)
            state = await mesh.ask(ReadTrajectory(trajectory=drawn.trajectory))
    assert state.task is not None
    assert state.plan is not None
    assert (state.task.prompt, state.prepared) == ("ein roter Fuchs", "a red fox")
    assert "a red fox" in state.plan.prompt
    assert state.hooks["before_plan"].role == "translator"


async def test_an_agent_of_another_host_plays_an_own_role(folder: Path) -> None:
    async with open_supervisor(config_of(folder, "roles.translator.count=0")) as supervisor:
        await supervisor.ready()
        agent = (*GEMS, "agent", "translator=2", "--name", "box", "--router", supervisor.address)
        with started((*agent, "--config", "mesh.toml"), cwd=folder, env=environment()):
            async with open_client(supervisor.address) as mesh:
                await until_there(mesh, "translator", 2)
                assert await mesh.ask(TranslatePrompt(text="Katze")) == Translation(text="cat")


async def test_an_own_role_works_over_tcp_with_a_key_that_allows_nothing_else(folder: Path) -> None:
    await run(folder, "keys", "new", "keys")
    await run(folder, "keys", "add", "keys", "box", "--may", "translator", "--config", "mesh.toml")
    router, keys = f"tcp://127.0.0.1:{free_port()}", f"{folder}/keys"
    listening = (f"router.address={router}", f"security.key={keys}/router.key", f"security.allowed={keys}/allowed.toml")
    async with open_supervisor(config_of(folder, *listening, "roles.translator.count=0")) as supervisor:
        await supervisor.ready()
        box = [f"--set=security.{setting}" for setting in (f"key={keys}/box.key", f"router_key={keys}/router.pub")]
        played = (*GEMS, "role", "translator", "--router", router, "--config", "mesh.toml", *box)
        with started(played, cwd=folder, env=environment()):
            async with open_client(router, security=keys_of(folder, "client")) as mesh:
                assert await mesh.ask(TranslatePrompt(text="ein roter Fuchs")) == Translation(text="a red fox")
            async with open_client(router, security=keys_of(folder, "box")) as mesh:
                with pytest.raises(
                    ForbiddenError, match=r"key that allows 'PlanPrompt' to planner, got that of box \(translator\)"
                ):
                    await mesh.ask(PlanPrompt(prompt="a fox"))
