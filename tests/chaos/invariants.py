"""What must hold after a run, seen from outside: inputs against outputs and log. Each check returns what is broken."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import trio

from actors.memory_store.maintenance import check_images, check_logs, export_records
from actors.memory_store.sharding import shard_folder
from gems_actors.blobs import BlobFolder
from gems_actors.errors import GemsError
from protocol.messages import (
    AttemptVerified,
    LoggedRecord,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryRecord,
)
from tests.chaos.world import ROUNDS, Sizes, World

MAX_MIB: Final = 160.0
"""Resident memory of a process; the verifier, the largest, takes 67 MiB in an undisturbed bulk of 150."""
MAX_DESCRIPTORS: Final = 200
_DISK: Final = frozenset(
    ("fill the disk", "use up the inodes of the disk", "remount the pictures read-only")
)  # fmt: skip
_SHORTAGES: Final = _DISK | {"limit the memory of a role", "use up the descriptors of a role"}
_CRASHES: Final = re.compile(r"Traceback|handler_crashed|process_crashed")
_ACCIDENTS: Final = re.compile(r"internal error|Traceback|handler_crashed|process_crashed")

Records = dict[tuple[int, int], bytes]
"""Records of all shards, encoded, by shard and sequence."""


def read_records(world: World) -> Records:
    """Return what the log has now."""
    found: Records = {}
    for shard in range(world.shape.shards):
        folder = shard_folder(world.data, shard)
        if (folder / "log").exists():
            for item in export_records(folder):
                if isinstance(item, LoggedRecord):
                    found[shard, item.sequence] = msgspec.json.encode(item)
    return found


def lost_records(before: Records, after: Records) -> Iterator[str]:
    """Yield a line if records of an earlier look are gone or have changed."""
    lost = [place for place, record in before.items() if after.get(place) != record]
    if lost:
        yield f"{len(lost)} records that were in the log are gone or have changed, first {lost[0]}"


def allowed_codes(met: set[str]) -> set[int]:
    """Return the exit codes that a command may have after the faults that it met."""
    codes = {0}
    if met & {"kill the command", "kill everything at once"}:
        codes.add(-9)
    if met & {"signal the command", "signal the command twice"}:
        codes.add(130)
    if "use up the descriptors of a role" in met:
        codes.add(75)  # a picture could not be stored
    if met & _DISK:
        codes |= {1, 2, 75, 78}
    return codes


def accidents(text: str, met: Iterable[str]) -> Iterator[str]:
    """Yield lines of a log that nobody foresaw; a role may end, and be replaced, where it got no memory or file."""
    has_shortage = bool(_SHORTAGES.intersection(met))
    for line in text.splitlines():
        if _ACCIDENTS.search(line) and not (has_shortage and _CRASHES.search(line)):
            yield f"unforeseen: {line[:600]}"


def dataset_of(out: Path) -> dict[str, bytes]:
    """Return the files of a dataset, its rows without the ids of trajectories, which hold the folder's name."""
    dataset = out / "dataset"
    files = {str(path.relative_to(dataset)): path.read_bytes() for path in sorted(dataset.rglob("*")) if path.is_file()}
    rows = files.get("metadata.jsonl", b"")
    files["metadata.jsonl"] = re.sub(rb'"trajectory":"[0-9a-f]{32}"', b'"trajectory":""', rows)
    return files


def first_of(reference: Mapping[str, bytes], tasks: int) -> dict[str, bytes]:
    """Return what the dataset of the first tasks of an undisturbed run is."""
    rows = reference["metadata.jsonl"].splitlines(keepends=True)[:tasks]
    names = [msgspec.json.decode(row)["file_name"] for row in rows]
    return {**{name: reference[name] for name in names}, "metadata.jsonl": b"".join(rows)}


def wrong_dataset(world: World, expected: Mapping[str, bytes]) -> Iterator[str]:
    """Yield how the dataset differs from that of an undisturbed run."""
    found = dataset_of(world.out)
    if found["metadata.jsonl"] != expected["metadata.jsonl"]:
        ours, theirs = (files["metadata.jsonl"].splitlines() for files in (found, expected))
        index = next((n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), -1)
        yield f"{len(ours)} rows of {len(theirs)}, first difference in row {index}"
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name) and name != "metadata.jsonl":
            yield f"dataset: {name}: {'differs' if name in found and name in expected else 'missing or too many'}"


def wrong_log(world: World) -> Iterator[str]:
    """Yield what is wrong with the log: damage, steps or ends of a task twice or not at all, lost pictures."""
    folders = [shard_folder(world.data, shard) for shard in range(world.shape.shards)]
    try:
        yield from check_logs(folders).problems
    except GemsError as error:
        yield str(error)
    records = [item.record for folder in folders for item in export_records(folder) if isinstance(item, LoggedRecord)]
    steps = [record for record in records if isinstance(record, TrajectoryRecord)]
    for kind in (TrajectoryBegun, TrajectoryEnded):
        counts = Counter(step.trajectory for step in steps if isinstance(step, kind))
        if len(counts) != world.shape.tasks or set(counts.values()) != {1}:
            yield f"log: {kind.__name__}: {len(counts)} trajectories of {world.shape.tasks}, counts {counts.values()}"
    attempts = Counter((step.trajectory, step.attempt.round) for step in steps if isinstance(step, AttemptVerified))
    if any(count > 1 for count in attempts.values()) or any(round_ > ROUNDS for _, round_ in attempts):
        yield "log: an attempt was verified twice, or after the last round"
    digests = {msgspec.json.decode(row)["trajectory"]: msgspec.json.decode(row)["digest"] for row in _rows(world)}
    for step in steps:
        if isinstance(step, TrajectoryEnded):
            chosen = [
                other.attempt.image.digest
                for other in steps
                if isinstance(other, AttemptVerified)
                and (other.trajectory, other.attempt.round) == (step.trajectory, step.ending.best_round)
            ]
            if chosen != [digests.get(step.trajectory)]:
                yield f"row of {step.trajectory}: expected the picture of its record, {chosen}"
    for folder in folders:
        for problem in trio.run(check_images, folder, BlobFolder(world.blobs)):
            if not any(digest in problem for digest in world.damaged):
                yield f"picture: {problem}"


def _rows(world: World) -> list[bytes]:
    return (world.out / "dataset/metadata.jsonl").read_bytes().splitlines()


def failed_tasks(world: World) -> Iterator[str]:
    """Yield the tasks that failed; every fault of a schedule is one that passes."""
    path = world.out / "failed.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        row = msgspec.json.decode(line)
        yield f"task {row.get('index')} failed: {row.get('class')}: {row.get('reason')}"


def leftovers(world: World) -> Iterator[str]:
    """Yield processes and temporary files that are left after the command."""
    for pid, name in world.family().items():
        yield f"process {pid} ({name}) is left"
    for path in world.temporary.iterdir():
        yield f"{path} is left: {sorted(entry.name for entry in path.iterdir()) if path.is_dir() else 'a file'}"


def growth(sizes: Sizes) -> Iterator[str]:
    """Yield the processes that grew beyond their bounds."""
    for name, mib in sizes.mib.items():
        if mib > MAX_MIB:
            yield f"{name}: {mib:.0f} MiB resident"
    for name, count in sizes.descriptors.items():
        if count > MAX_DESCRIPTORS:
            yield f"{name}: {count} descriptors"
