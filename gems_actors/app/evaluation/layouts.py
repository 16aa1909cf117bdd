"""Says which file of a layout each picture becomes, as the official scorer of a benchmark expects it. Pure.

Where the code of a scorer differs from its paper or page, the layout follows the code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from gems_actors.app.evaluation.prompt_files import Prompt

Pictures = Mapping[str, Sequence[Path]]
"""Pictures of each prompt in the order of the samples, by the id of the prompt."""


@dataclass(frozen=True, slots=True)
class Link:
    """A picture as it was drawn."""

    source: Path

    def stamp(self) -> str:
        """Return what changes whenever the file must be written again."""
        return _stamp("link", self.source)


@dataclass(frozen=True, slots=True)
class Grid:
    """The samples of a prompt as one picture of equal tiles in two columns."""

    sources: tuple[Path, ...]
    format: Literal["PNG", "WEBP"]

    def stamp(self) -> str:
        """Return what changes whenever the file must be written again."""
        return _stamp(self.format, *self.sources)


@dataclass(frozen=True, slots=True)
class Text:
    """A file of text in UTF-8."""

    content: str

    def stamp(self) -> str:
        """Return what changes whenever the file must be written again."""
        return blake2b(self.content.encode(), digest_size=8).hexdigest()


Layout = Mapping[str, Link | Grid | Text]
"""Files of a layout by their paths in its folder."""


def _stamp(kind: str, *sources: Path) -> str:
    found = [path.stat() for path in sources]
    parts = (kind, *((item.st_size, item.st_mtime_ns) for item in found))
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def lay_out_geneval(_: Path, prompts: Sequence[Prompt], pictures: Pictures) -> Layout:
    """Return a folder for each prompt, with its record and samples."""
    layout: dict[str, Link | Text] = {}
    for prompt in prompts:
        for number, picture in enumerate(pictures[prompt.id]):
            layout[f"{prompt.id}/samples/{number:04d}.png"] = Link(picture)
        layout[f"{prompt.id}/metadata.jsonl"] = Text(json.dumps(prompt.record) + "\n")
    return layout


def lay_out_geneval2(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> Layout:
    """Return the pictures, and their paths by prompt."""
    paths = {prompt.text: str((folder / "images" / f"{prompt.id}.png").absolute()) for prompt in prompts}
    images = {f"images/{name}": item for name, item in lay_out_flat(folder, prompts, pictures).items()}
    return images | {"image_paths.json": Text(json.dumps(paths, ensure_ascii=False, indent=2))}


def lay_out_flat(_: Path, prompts: Sequence[Prompt], pictures: Pictures) -> Layout:
    """Return the first sample of each prompt, named by its id."""
    return {f"{prompt.id}.png": Link(pictures[prompt.id][0]) for prompt in prompts}


def lay_out_longtext(_: Path, prompts: Sequence[Prompt], pictures: Pictures) -> Layout:
    """Return the samples, named by the id of their prompt and their number from 1."""
    return {
        f"{prompt.id}_{number}.png": Link(picture)
        for prompt in prompts
        for number, picture in enumerate(pictures[prompt.id], 1)
    }


def lay_out_dpg(_: Path, prompts: Sequence[Prompt], pictures: Pictures) -> Layout:
    """Return a grid for each prompt."""
    return {f"{prompt.id}.png": Grid(tuple(pictures[prompt.id]), "PNG") for prompt in prompts}


def lay_out_oneig(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> Layout:
    """Return a grid for each prompt in the folder of its category."""
    del folder  # paths are relative to it
    layout = {}
    for prompt in prompts:
        kind, _, id_ = prompt.id.partition("/")
        layout[f"images/{kind}/gems-actors/{id_}.webp"] = Grid(tuple(pictures[prompt.id]), "WEBP")
    return layout


def lay_out_crea(folder: Path, prompts: Sequence[Prompt], pictures: Pictures) -> Layout:
    """Return all samples, and their paths by prompt."""
    layout: dict[str, Link | Text] = {}
    paths: dict[str, list[str]] = {}
    for prompt in prompts:
        for number, picture in enumerate(pictures[prompt.id]):
            name = f"images/{prompt.id}_{number:02d}.png"
            layout[name] = Link(picture)
            paths.setdefault(prompt.text, []).append(str((folder / name).absolute()))
    return layout | {"image_paths.json": Text(json.dumps(paths, ensure_ascii=False, indent=2))}
