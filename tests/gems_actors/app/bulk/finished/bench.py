"""A folder with an input, and the dataset that a studio paints from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions, BulkResult, BulkView, Part, spec_of
from gems_actors.app.bulk.estimate import dry_run
from gems_actors.app.bulk.rows import Row, rows_of
from gems_actors.app.bulk.run_spec import Consent
from gems_actors.app.options import DrawOptions
from gems_actors.errors import UsageError
from tests.gems_actors.app.meshes import Studio, open_studio

PROMPTS = [f"{number} owls" for number in range(6)]
SKILL = "---\nname: light\ndescription: About light.\nlicense: {license}\n---\nUse {word} light.\n"


class Lines(BulkView):
    """Keeps the lines of a view."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class Bench:
    """A folder with an input and the dataset that is drawn from it."""

    path: Path
    studio: Studio
    options: DrawOptions
    identity: int | None = None

    @property
    def out(self) -> Path:
        return self.path / "out"

    def write(self, records: Iterable[Any]) -> None:
        """Write the input; a text is a prompt."""
        lines = [item if isinstance(item, dict) else {"prompt": item} for item in records]
        (self.path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def write_skill(self, name: str, word: str = "soft", license_: str = "MIT") -> None:
        folder = self.path / "skills" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "SKILL.md").write_text(
            SKILL.format(word=word, license=license_).replace("name: light", f"name: {name}")
        )

    def bulk_options(self, consent: Consent | None = None, *, file: Path | None = None, **changes: Any) -> BulkOptions:
        """Return the options of a run; `changes` are those of `DrawOptions`, `Part` and `spec_of`."""
        part = Part(**{name: changes.pop(name) for name in ("shard", "limit", "only") if name in changes})
        own = {name: changes.pop(name) for name in ("samples", "id_column") if name in changes}
        overrides = (*self.options.overrides, *changes.pop("overrides", ()))
        options = replace(self.options, overrides=overrides, **changes)
        spec = spec_of(file or self.path / "in.jsonl", options, **own)
        if self.identity is not None:
            spec = msgspec.structs.replace(spec, identity=self.identity)
        return BulkOptions(
            spec=spec,
            file=file or self.path / "in.jsonl",
            out=self.out,
            part=part,
            router=options.router,
            concurrency=1,
            consent=consent,
        )

    async def run(self, consent: Consent | None = None, view: BulkView | None = None, **changes: Any) -> BulkResult:
        return await bulk.run(self.bulk_options(consent, **changes), view)

    async def refuse(self, consent: Consent | None = None, **changes: Any) -> str:
        """Run, check that the run stops and changes no file, and return the message."""
        before, dry = self.contents(), dry_run(self.bulk_options(consent, **changes), None)
        with pytest.raises(UsageError) as raised:
            await self.run(consent, **changes)
        assert self.contents() == before
        assert self.studio.take_asked() == []
        assert str(dry.refusal) == str(raised.value), "a dry run says the same"
        return str(raised.value)

    def contents(self) -> dict[str, tuple[int, bytes]]:
        """Return time and content of each file but the lock."""
        files = [path for path in self.out.rglob("*") if path.is_file() and path.name != "bulk.lock"]
        return {str(path.relative_to(self.out)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    def pictures(self) -> dict[str, tuple[int, bytes]]:
        return {name: found for name, found in self.contents().items() if name.startswith("dataset/images")}

    def rows(self) -> list[Row]:
        return list(rows_of(self.out))

    def drawn(self) -> list[str]:
        """Return the prompts that were drawn since the last call."""
        return [request.prompt for request in self.studio.take_asked()]


@asynccontextmanager
async def open_bench(path: Path, records: Iterable[Any] = PROMPTS, **changes: Any) -> AsyncIterator[Bench]:
    """Yield a bench on which all records are drawn."""
    async with open_studio(path) as (studio, options):
        bench = Bench(path, studio, options)
        for name in ("spatial-layout", "unused"):
            bench.write_skill(name)
        bench.options = replace(options, overrides=(*options.overrides, f'skills.folders=["{path}/skills"]'))
        bench.write(records)
        result = await bench.run(**changes)
        assert result.outcome == "done", (bench.out / "failed.jsonl").read_text()
        bench.studio.take_asked()
        yield bench


EQUAL: list[Any] = [
    "a cat",
    "a cat",
    {"prompt": "a cat", "seed": 5},
    "a dog",
    {"prompt": "a dog", "steps": 3},
    *PROMPTS,
]
