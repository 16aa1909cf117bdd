"""The generator checks what an image model returns before storing it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from actors.generator import Generator, check_picture
from gems_actors.backends import GeneratedImage, ImagePart, ImageRequest
from gems_actors.call_context import Call, answering
from gems_actors.config import ImageConfig, MeshConfig
from gems_actors.errors import BackendError, RefusedError
from protocol.envelope import Header, Kind, Lane
from protocol.messages import GenerateImage
from tests.actors.fakes import mesh_with, png
from tests.gems_actors.backends.picture_bytes import flat, noise


class FakePainter:
    """Returns the same picture for every request, and remembers the requests."""

    def __init__(self, picture: GeneratedImage) -> None:
        self._picture = picture
        self.requests: list[ImageRequest] = []
        self.capacity = 4

    def figures(self) -> dict[str, float]:
        return {"pictures": float(len(self.requests))}

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        self.requests.append(request)
        await trio.lowlevel.checkpoint()
        return self._picture


@pytest.mark.parametrize("lane", Lane)
async def test_a_picture_is_drawn_stored_and_named_by_its_bytes(lane: Lane, tmp_path: Path) -> None:
    generator = Generator(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    data = png()
    painter = FakePainter(GeneratedImage(data, "image/png", 32, 16))
    generator.use(painter)

    request = GenerateImage(
        prompt="a cat", seed=7, width_px=32, height_px=16, steps=8, guidance=0.0, exact=True, task_seed=11
    )
    with answering(Call(Header(Kind.REQUEST, lane=lane))):
        reply = await generator.generate(request)
    stored = await generator.blobs.get(reply.image)
    interactive = lane is Lane.INTERACTIVE
    asked = ImageRequest("a cat", 7, 32, 16, steps=8, guidance=0.0, exact=True, interactive=interactive, task_seed=11)
    assert painter.requests == [asked]
    assert generator.figures() == {"pictures": 1.0}
    assert stored == data
    assert (reply.image.width_px, reply.image.height_px, reply.image.media_type) == (32, 16, "image/png")
    assert reply.spent.calls == 1
    assert reply.spent.seconds > 0


class FakeEditor(FakePainter):
    """The same, and it draws from pictures."""

    can_edit = True


async def test_a_model_that_draws_from_pictures_gets_the_references_of_a_request(tmp_path: Path) -> None:
    config = MeshConfig(data_dir=str(tmp_path))
    generator = Generator(config, mesh_with())
    editor = FakeEditor(GeneratedImage(png(), "image/png", 32, 16))
    first, second = png(16, 16), png(48, 16)
    given = [
        await generator.blobs.put(data, media_type="image/png", width_px=16, height_px=16) for data in (first, second)
    ]
    request = GenerateImage(prompt="x", seed=7, width_px=32, height_px=16, references=tuple(given), strength=0.5)
    generator.use(editor)
    with answering(Call(Header(Kind.REQUEST))):
        reply = await generator.generate(request)
    assert editor.requests[0].references == (ImagePart(first, "image/png"), ImagePart(second, "image/png"))
    assert (editor.requests[0].strength, reply.can_be_edited) == (0.5, True)


async def test_a_picture_that_is_redrawn_by_a_description_cannot_be_edited(tmp_path: Path) -> None:
    generator = Generator(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    for config in (generator.config, MeshConfig(data_dir=str(tmp_path), image=ImageConfig(backend="my:model"))):
        generator.config = config
        for model, of_picture in ((FakeEditor, True), (FakeEditor, False), (FakePainter, True)):
            generator.use(model(GeneratedImage(png(), "image/png", 32, 16, can_be_edited=of_picture)))
            with answering(Call(Header(Kind.REQUEST))):
                reply = await generator.generate(GenerateImage(prompt="x", seed=7, width_px=32, height_px=16))
            assert reply.can_be_edited == (model is FakeEditor and of_picture)


async def test_a_model_that_cannot_draw_from_pictures_refuses_references(tmp_path: Path) -> None:
    generator = Generator(MeshConfig(data_dir=str(tmp_path)), mesh_with())
    painter = FakePainter(GeneratedImage(png(), "image/png", 32, 16))
    generator.use(painter)
    given = await generator.blobs.put(png(), media_type="image/png", width_px=32, height_px=16)
    with (
        answering(Call(Header(Kind.REQUEST))),
        pytest.raises(
            RefusedError,
            match=r"expected an image model that draws from pictures, got storyboard, which does not; use another",
        ),
    ):
        await generator.generate(GenerateImage(prompt="x", seed=7, width_px=32, height_px=16, references=(given,)))
    assert not painter.requests


@pytest.mark.parametrize(
    ("picture", "got"),
    [
        (GeneratedImage(png(), "image/jpeg", 32, 16), "image/png of 32x16 px"),
        (GeneratedImage(png(), "image/png", 16, 32), "image/png of 32x16 px"),
        (GeneratedImage(b"", "image/png", 32, 16), "0 bytes that are not a picture"),
        (GeneratedImage(b"<html>busy</html>", "image/png", 32, 16), "17 bytes that are not a picture"),
        (GeneratedImage(png(8, 8), "image/png", 8, 8), "sides of 16 to 8192 px, got image/png of 8x8 px"),
    ],
)
def test_a_picture_that_is_not_what_it_claims_is_an_error(picture: GeneratedImage, got: str) -> None:
    with pytest.raises(BackendError, match=got):
        check_picture(picture)


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (png(), png()),
        (flat("RGBA", (200, 30, 30, 0)), flat("RGBA", (255, 255, 255, 0), compress_level=1)),
        (noise("PNG", size=(32, 16))[:-30], None),
        (noise("PNG", size=(32, 16)).replace(b"IDAT", b"IDaT"), None),
    ],
    ids=["whole", "hidden colours", "cut", "damaged"],
)
async def test_a_picture_of_your_own_model_is_decoded_before_it_is_stored(
    data: bytes, stored: bytes | None, tmp_path: Path
) -> None:
    config = MeshConfig(data_dir=str(tmp_path), image=ImageConfig(backend="mine:open_mine"))
    generator = Generator(config, mesh_with())
    generator.model = FakePainter(GeneratedImage(data, "image/png", 32, 16, {"stage_s": 1.0}))
    request = GenerateImage(prompt="a cat", seed=7, width_px=32, height_px=16)
    with answering(Call(Header(Kind.REQUEST))):
        if stored is None:
            with pytest.raises(BackendError, match=r"^image model: expected .*, got \d+ bytes"):
                await generator.generate(request)
            return
        reply = await generator.generate(request)
    assert await generator.blobs.get(reply.image) == stored
