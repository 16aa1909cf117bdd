"""A layout is written once: only what is missing or changed, and nothing stays that it no longer has."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image, features

from gems_actors.app.evaluation.layout_writer import write_layout
from gems_actors.app.evaluation.layouts import Grid, Layout, Link, Text
from gems_actors.app.picture_files import OutputError


class Bench:
    """A folder with four pictures, and the layout next to them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.record = folder, folder / "out", folder / "layout.jsonl"
        self.reports: list[str] = []
        self.pictures = tuple(self.draw(number) for number in range(4))

    def draw(self, number: int, colour: tuple[int, ...] = (), mode: str = "RGB") -> Path:
        path = self.folder / f"{number}.png"
        part = path.with_suffix(".part")
        Image.new(mode, (32, 32), colour or (60 * number, 99, 0)).save(part, "PNG")
        part.replace(path)
        return path

    async def write(self, layout: Layout) -> dict[str, int]:
        """Write a layout and return the inode of every file below its folder: another one for a file that is new."""
        self.reports.clear()
        await write_layout(self.out, layout, self.record, self.reports.append)
        return {
            str(path.relative_to(self.out)): path.stat().st_mtime_ns ^ path.stat().st_ino
            for path in self.out.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def layout_of(bench: Bench) -> dict[str, Link | Grid | Text]:
    return {
        "a/one.png": Link(bench.pictures[0]),
        "b/two.webp": Grid(bench.pictures, "WEBP"),
        "c/three.png": Grid(bench.pictures[:2], "PNG"),
        "paths.json": Text('{"a": "b"}'),
    }


async def test_nothing_is_written_again_that_is_there(bench: Bench) -> None:
    first = await bench.write(layout_of(bench))
    assert first.keys() == layout_of(bench).keys()
    assert bench.reports == ["joining the samples of 2 of 2"]
    assert await bench.write(layout_of(bench)) == first
    assert bench.reports == []


def differing(before: Mapping[str, int], after: Mapping[str, int]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


async def test_only_what_a_changed_picture_is_part_of_is_written_again(bench: Bench) -> None:
    before = await bench.write(layout_of(bench))
    bench.draw(3, (1, 2, 3))
    after = await bench.write(layout_of(bench))
    assert differing(before, after) == {"b/two.webp"}
    assert bench.reports == ["joining the samples of 1 of 2"]


@pytest.mark.parametrize("name", ["a/one.png", "b/two.webp", "c/three.png", "paths.json"])
async def test_a_missing_file_is_written_alone(bench: Bench, name: str) -> None:
    before = await bench.write(layout_of(bench))
    (bench.out / name).unlink()
    assert differing(before, await bench.write(layout_of(bench))) <= {name}
    assert (bench.out / name).is_file()


@pytest.mark.parametrize(
    ("name", "item"),
    [("b/two.webp", lambda pictures: Grid(pictures[:3], "WEBP")), ("paths.json", lambda _: Text("{}"))],
)
async def test_what_is_made_of_other_things_is_written_again(bench: Bench, name: str, item: object) -> None:
    before = await bench.write(layout_of(bench))
    changed = layout_of(bench) | {name: item(bench.pictures)}  # type: ignore[operator]  # a tree of names
    assert differing(before, await bench.write(changed)) == {name}


async def test_files_that_the_layout_no_longer_has_go_and_those_of_a_scorer_stay(bench: Bench) -> None:
    await bench.write(layout_of(bench))
    (bench.out / "b" / "results.txt").write_text("0.9")
    left = await bench.write({"a/one.png": Link(bench.pictures[0])})
    assert left.keys() == {"a/one.png", "b/results.txt"}
    assert not (bench.out / "c").exists(), "an empty folder may be taken for a prompt without pictures"


async def test_a_kill_between_two_files_costs_only_what_was_not_written(bench: Bench) -> None:
    before = await bench.write(layout_of(bench))
    lines = bench.record.read_bytes().splitlines(keepends=True)
    bench.record.write_bytes(b"".join(lines[:-1]) + lines[-1][:7])  # the last line is torn
    after = await bench.write(layout_of(bench))
    assert differing(before, after) <= {"a/one.png", "paths.json", "c/three.png", "b/two.webp"}
    assert len(differing(before, after)) <= 1
    assert await bench.write(layout_of(bench)) == after


async def test_a_layout_of_an_earlier_version_is_replaced(bench: Bench) -> None:
    for name in layout_of(bench):
        (bench.out / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.out / name).write_text("of before")
    await bench.write(layout_of(bench))
    assert all((bench.out / name).read_bytes() != b"of before" for name in layout_of(bench))
    assert bench.pictures[0].read_bytes().startswith(b"\x89PNG"), "a link is not written through"


async def test_grids_are_saved_as_the_benchmark_saves_its_own(bench: Bench, tmp_path: Path) -> None:
    for number in range(4):
        noise = Image.frombytes("RGB", (32, 32), os.urandom(32 * 32 * 3))
        noise.save(tmp_path / f"{number}.png")
    await bench.write(layout_of(bench))
    with Image.open(bench.out / "b/two.webp") as grid, Image.open(bench.out / "c/three.png") as exact:
        assert (grid.format, grid.size, exact.size) == ("WEBP", (64, 64), (64, 32))
        expected = Image.new("RGB", (64, 64))
        for number in range(4):
            with Image.open(tmp_path / f"{number}.png") as tile:
                expected.paste(tile, (number % 2 * 32, number // 2 * 32))
        assert exact.tobytes() == expected.crop((0, 0, 64, 32)).tobytes(), "PNG keeps every pixel"
        upstream = io.BytesIO()
        expected.save(upstream, "WEBP")  # as OneIG-Bench's text2image.py does, with Pillow's defaults
        assert (bench.out / "b/two.webp").read_bytes() == upstream.getvalue()
    assert features.check("webp")


async def test_a_transparent_sample_lies_over_white(bench: Bench) -> None:
    bench.draw(0, (200, 0, 0, 0), "RGBA")
    await bench.write({"grid.png": Grid(bench.pictures[:2], "PNG")})
    with Image.open(bench.out / "grid.png") as grid:
        assert (grid.getpixel((5, 5)), grid.getpixel((40, 5))) == ((255, 255, 255), (60, 99, 0))


async def test_progress_is_reported_for_every_hundred_grids(bench: Bench) -> None:
    await bench.write({f"{number}.png": Grid(bench.pictures[:1], "PNG") for number in range(201)})
    assert bench.reports == ["joining the samples of 201 of 201", "joined 100 of 201", "joined 200 of 201"]


async def test_a_picture_that_cannot_be_read_is_named(bench: Bench) -> None:
    (bench.folder / "2.png").write_bytes(b"not a picture")
    with pytest.raises(OutputError, match="cannot identify image file"):
        await bench.write(layout_of(bench))
    (bench.folder / "2.png").unlink()
    with pytest.raises(OutputError, match=r"2\.png: expected to lay out pictures, got: No such file"):
        await bench.write(layout_of(bench))
