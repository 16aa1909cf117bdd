"""Pictures to draw from: what the store has of them, and the size of what is drawn from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.references.drawing import keep_references, put_images, sized_like
from gems_actors.app.references.pictures import read_references
from gems_actors.blobs import BlobFolder
from gems_actors.client import open_client
from gems_actors.errors import UsageError
from protocol.messages import DrawPicture, DrawSettings, ImageRef
from tests.actors.fakes import png
from tests.gems_actors.app.editors import INVERTING
from tests.gems_actors.app.meshes import open_drawing_mesh


def ref_of(width_px: int, height_px: int) -> ImageRef:
    digest = f"sha256:{'0' * 64}"
    return ImageRef(digest=digest, media_type="image/png", bytes=1, width_px=width_px, height_px=height_px)


async def test_the_store_names_a_picture_as_its_reference_does(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path)
    references = read_references([png(32, 16), png(48, 16)])
    await keep_references(blobs, references)
    for one in references:
        assert await blobs.get(one.ref) == one.data
    assert [one.ref.width_px for one in references] == [32, 48]


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        ((1024, 1024), (768, 768)),
        ((16, 16), (768, 768)),
        ((1920, 1080), (1024, 576)),
        ((1080, 1920), (576, 1024)),
        ((8000, 100), (1536, 384)),
        ((4032, 3024), (880, 672)),
    ],
)
def test_a_picture_has_the_proportions_of_its_reference_and_the_pixels_of_the_settings(
    given: tuple[int, int], drawn: tuple[int, int]
) -> None:
    found = sized_like(ref_of(*given), DrawSettings(steps=4))
    assert (found.width_px, found.height_px) == drawn
    assert found.steps == 4
    assert all(side % 16 == 0 for side in drawn)


async def test_a_program_puts_pictures_where_a_request_names_them(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png(96, 48, "red"))
    async with open_drawing_mesh(tmp_path, settings=(INVERTING,)) as options:
        assert options.router is not None
        async with open_client(options.router) as mesh:
            references = await put_images(mesh, [tmp_path / "red.png", png()], options.read_config())
            settings = DrawSettings(width_px=64, height_px=32, max_rounds=1)
            request = DrawPicture(run="mine", prompt="in snow", seed=7, references=references, settings=settings)
            picture = await mesh.ask(request)
            with pytest.raises(UsageError, match=r"\Aimage: no.png: expected a readable file"):
                await put_images(mesh, "no.png", options.read_config())
    assert picture.best.references == references
    assert [image.width_px for image in references] == [96, 32]
