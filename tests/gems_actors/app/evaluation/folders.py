"""Folders of runs, written as `gems eval` leaves them, without drawing anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gems_actors.app.bulk.folder_files import SpentRow
from gems_actors.app.bulk.rows import Row, RowRequirement
from gems_actors.app.bulk.run_spec import RunSpec, spec_of
from gems_actors.app.options import DrawOptions
from protocol.messages import Spent


def row(
    prompt: str,
    index: int,
    met_by_round: Sequence[int],
    *,
    total: int = 4,
    sample: int = 0,
    images: int = 0,
    met_by_image: Sequence[int] = (),
) -> Row:
    """Return the row of a picture whose best round is the chosen one."""
    met = max(met_by_round)
    return Row(
        file_name=f"images/00000/{index:08d}{f'-{sample}' if sample else ''}.png",
        index=index,
        sample=sample,
        key=f"{index:016x}",
        prompt=prompt,
        final_prompt=prompt,
        seed=index,
        digest="d",
        digests=("d",),
        models={"image": "painter-1", "chat": "talker-2"},
        skill=None,
        rounds=len(met_by_round),
        images=images or len(met_by_round),
        met=met,
        all_met=met == total,
        outcome="all_met" if met == total else "rounds_spent",
        decided_by="verdicts",
        requirements=tuple(
            RowRequirement(id=str(number), question="?", kind="object", answer=None) for number in range(total)
        ),
        met_by_round=tuple(met_by_round),
        met_by_image=tuple(met_by_image),
        metadata=json.dumps({"id": f"{index:05d}"}),
    )


def spec(out: Path, *, samples: int = 1, **options: Any) -> RunSpec:
    """Return the specification of a run of `gems eval`."""
    return spec_of(out / "prompts.jsonl", DrawOptions(**options), samples=samples)


def write_folder(out: Path, rows: Sequence[Row], *, scores: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """Write the folder of a run; `scores` are those of CREA by the id of the prompt, from 6 to 30."""
    (out / "dataset").mkdir(parents=True)
    (out / ".mesh").mkdir()
    (out / "run.json").write_bytes(msgspec.json.encode(spec(out, **options)))
    lines = b"".join(msgspec.json.encode(item) + b"\n" for item in rows)
    (out / "dataset" / "metadata.jsonl").write_bytes(lines)
    if scores is not None:
        total = {"scorer": "crea", "judge": "judge-8b", "creativity": sum(scores.values()) / len(scores)}
        (out / "scores.json").write_text(json.dumps(total | {"by_principle": {}}))
        parts = [{"id": id_, "parts": {"creativity (of 30)": {"": [score, 1]}}} for id_, score in scores.items()]
        (out / "scores_by_prompt.jsonl").write_text("".join(json.dumps(line) + "\n" for line in parts))
    return out


def write_calls(out: Path, calls_by_image: Sequence[Sequence[int]], totals: Sequence[int]) -> None:
    """Write the calls for each picture of a folder, in the order of its rows."""
    rows = [
        SpentRow(index=index, key=f"{index:x}", spent={"verifier": Spent(calls=total)}, calls_by_image=tuple(calls))
        for index, (calls, total) in enumerate(zip(calls_by_image, totals, strict=True))
    ]
    (out / ".mesh" / "spent.jsonl").write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in rows))
