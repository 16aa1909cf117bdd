"""Drawing one prompt from Python: the result, the view and the request."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from gems_actors.app import draw
from gems_actors.app.draw import DrawRequest, DrawResult, DrawView
from gems_actors.app.options import DrawOptions
from gems_actors.client import open_client
from gems_actors.errors import CancelledRequestError, ConfigError, LogError, RefusedError, UnsupportedError, UsageError
from protocol.messages import ControlRun, DrawPicture, Event, ImageDrawn, Record, RunBegun
from tests.actors.fakes import png
from tests.gems_actors.app.editors import INVERTING
from tests.gems_actors.app.meshes import open_drawing_mesh, open_recording_mesh
from tests.processes import descendants


class RecordingView(DrawView):
    """Records the calls of a draw."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[Event] = []
        self.request: DrawPicture | None = None

    def start(self, request: DrawPicture) -> None:
        self.calls.append("start")
        self.request = request

    def take(self, event: Event) -> None:
        self.events.append(event)

    def finish(self, result: DrawResult) -> None:
        assert result.path.exists()
        self.calls.append("finish")

    def close(self) -> None:
        self.calls.append("close")


async def test_a_draw_returns_the_picture_and_its_file_and_shows_every_event(tmp_path: Path) -> None:
    view = RecordingView()
    async with open_drawing_mesh(tmp_path) as options:
        result = await draw.run(DrawRequest(prompt="a red dog", output=tmp_path / "dog.png", options=options), view)
    assert (result.path, result.seed, result.is_interrupted) == (tmp_path / "dog.png", 7, False)
    assert result.to_tree()["digest"] == result.picture.best.image.digest
    with Image.open(result.path) as image:
        assert image.size == (64, 64)
    assert view.calls == ["start", "finish", "close"]
    assert view.request is not None
    assert view.request.settings.max_rounds == 1
    assert any(isinstance(event, ImageDrawn) for event in view.events)


async def test_a_cancelled_draw_raises_an_error_with_the_name_of_the_user(tmp_path: Path) -> None:
    class CancellingView(RecordingView):
        async def run(self, mesh: object) -> None:
            assert self.request is not None
            async with open_client(options.router or "") as other:
                await other.ask(ControlRun(run=self.request.run, action="cancel", by="alice@box"))

    async with open_drawing_mesh(tmp_path) as options:
        endless = replace(options, rounds=64, overrides=(*options.overrides, "draw.stop_when_all_met=false"))
        request = DrawRequest(prompt="a red dog", output=tmp_path / "dog.png", options=endless)
        with pytest.raises(CancelledRequestError, match="cancelled by alice@box"):
            await draw.run(request, CancellingView())
    assert not (tmp_path / "dog.png").exists()


@pytest.mark.slow
async def test_the_view_gets_the_result_before_the_mesh_of_the_draw_drains(tmp_path: Path) -> None:
    class CountingView(RecordingView):
        def finish(self, result: DrawResult) -> None:
            self.children = descendants(os.getpid())

    view = CountingView()
    overrides = (f"data_dir={tmp_path}/data",)
    options = DrawOptions(overrides=overrides, rounds=1, size=(64, 64), seed=7)
    await draw.run(DrawRequest(prompt="a red dog", output=tmp_path / "dog.png", options=options), view)
    assert "gems-conductor" in view.children.values()


async def test_memory_records_the_run_before_the_picture_is_requested(tmp_path: Path) -> None:
    requests: list[Record | DrawPicture] = []
    prompt = "ein Schild: \u201eOffen\u201c"
    async with open_recording_mesh(requests) as mesh:
        request = DrawRequest(prompt=prompt, output=tmp_path, options=DrawOptions(router=mesh.address))
        with pytest.raises(RefusedError, match="no picture here"):
            await draw.run(request)
    begun, task = requests
    assert isinstance(task, DrawPicture)
    assert begun == RunBegun(run=task.run, what=prompt, total=1)


async def test_without_a_record_of_the_run_no_picture_is_requested(tmp_path: Path) -> None:
    requests: list[Record | DrawPicture] = []
    async with open_recording_mesh(requests, can_store=False) as mesh:
        request = DrawRequest(prompt="a cat", output=tmp_path, options=DrawOptions(router=mesh.address))
        with pytest.raises(LogError, match="the disk is full"):
            await draw.run(request)
    assert [type(request) for request in requests] == [RunBegun]


async def test_an_unusable_output_is_refused_before_a_mesh_is_started(tmp_path: Path) -> None:
    for output in (tmp_path / "x.jpg", Path("/dev/null/x.png")):
        with pytest.raises(UsageError, match="--output: "):
            await draw.run(DrawRequest(prompt="a cat", output=output))


async def test_a_mesh_of_its_own_in_which_nobody_can_play_a_step_of_the_loop_is_refused(tmp_path: Path) -> None:
    own = ("roles.poet.actor=own:Poet", "roles.poet.count=0", "loop.before_plan=poet")
    with pytest.raises(ConfigError, match=r"^roles.poet.count: expected at least 1 for loop.before_plan, got 0$"):
        await draw.run(DrawRequest(prompt="x", output=tmp_path / "x.png", options=DrawOptions(overrides=own)))


async def test_a_draw_from_a_picture_has_its_proportions_and_tells_of_it(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png(96, 48, "red"))
    view = RecordingView()
    async with open_drawing_mesh(tmp_path, settings=(INVERTING, "draw.width_px=64", "draw.height_px=64")) as options:
        request = DrawRequest(
            prompt="a red dog",
            output=tmp_path / "dog.png",
            options=replace(options, size=None, strength=0.5),
            images=[tmp_path / "red.png"],
        )
        result = await draw.run(request, view)
    assert view.request is not None
    (given,) = view.request.references
    with Image.open(result.path) as image:
        assert image.size == (96, 48)
        assert image.convert("RGB").getpixel((5, 5)) == (0, 255, 255)
        texts = image.text  # type: ignore[attr-defined]
    assert json.loads(texts["gems"])["references"] == [given.digest]
    assert "Denoising strength: 0.5, " in texts["parameters"]
    assert result.picture.settings.strength == 0.5


async def test_a_size_that_was_given_is_kept_whatever_the_picture(tmp_path: Path) -> None:
    async with open_drawing_mesh(tmp_path, settings=(INVERTING,)) as options:
        request = DrawRequest(prompt="a dog", output=tmp_path / "dog.png", options=options, images=[png(96, 48)])
        result = await draw.run(request)
    with Image.open(result.path) as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize(
    ("images", "strength", "line"),
    [
        (["no-such.png"], None, "--image: no-such.png: expected a readable file, got: No such file or directory"),
        ([], 0.5, "--strength: expected it with --image, got it alone"),
    ],
)
async def test_an_unusable_picture_is_refused_before_a_mesh_is_started(
    images: list[str], strength: float | None, line: str, tmp_path: Path
) -> None:
    options = DrawOptions(router="tcp://127.0.0.1:9", strength=strength)
    with pytest.raises(UsageError, match=rf"\A{line}\Z"):
        await draw.run(DrawRequest(prompt="a dog", output=tmp_path / "dog.png", options=options, images=images))


async def test_a_model_that_draws_from_text_alone_says_so_in_one_line(tmp_path: Path) -> None:
    settings = ("image.backend=tests.examples.own_backend.flat:open_flat",)
    async with open_drawing_mesh(tmp_path, settings=settings) as options:
        request = DrawRequest(prompt="a dog", output=tmp_path / "dog.png", options=options, images=[png()])
        with pytest.raises(UnsupportedError, match=r"references: expected an image model that draws from pictures"):
            await draw.run(request)
