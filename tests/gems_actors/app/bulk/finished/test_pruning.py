"""Pruning drops the attempts of finished tasks, and never what the dataset or the next run needs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from gems_actors.app.bulk.finished.pruning import Pruned, check_prunable, prune
from gems_actors.app.picture_files import OutputError
from gems_actors.blobs import BlobFolder
from gems_actors.config import MeshConfig
from gems_actors.errors import UsageError
from gems_actors.locks import hold_lock
from protocol.identity import digest_of
from protocol.messages import AttemptVerified, ImageRef, TrajectoryBegun, TrajectoryReopened
from tests.actors.fakes import attempt
from tests.actors.memory_store.records import begun, open_store, story
from tests.gems_actors.app.bulk.test_rows import row

NAMES = ("first", "chosen", "shared", "unfinished", "foreign")
DIGESTS = {name: digest_of(name.encode()) for name in NAMES}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bulk of one finished task with three images, one of which an unfinished task has, too, and one of neither."""
    blobs = BlobFolder(tmp_path / ".mesh/blobs")
    for name, digest in DIGESTS.items():
        blobs.write(digest, name.encode())
    found = row(digest=DIGESTS["chosen"], digests=tuple(DIGESTS[name] for name in ("first", "shared", "chosen")))
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset/metadata.jsonl").write_bytes(msgspec.json.encode(found) + b"\n")
    unfinished = begun("run", 1)
    with open_store(tmp_path / ".mesh/memory") as store:
        store.append(story("run", 0))
        store.append([unfinished])
        for round_, name in enumerate(("shared", "unfinished"), 1):
            image = ImageRef(digest=DIGESTS[name], media_type="image/png", bytes=1, width_px=16, height_px=16)
            judged = attempt(round_, "mu", image=image)
            store.append([AttemptVerified(trajectory=unfinished.trajectory, attempt=judged)])
    return tmp_path


def left(folder: Path) -> set[str]:
    blobs = BlobFolder(folder / ".mesh/blobs")
    return {name for name, digest in DIGESTS.items() if blobs.path_of(digest).exists()}


def test_the_attempts_of_finished_tasks_are_dropped_and_counted(folder: Path) -> None:
    size = len("first") + len("chosen")
    assert prune(folder, "none", is_dry_run=True) == Pruned(2, size)
    assert left(folder) == {*NAMES}
    assert prune(folder, "none") == Pruned(2, size)
    assert left(folder) == {"shared", "unfinished", "foreign"}
    assert prune(folder, "none") == Pruned(0, 0)


def test_the_chosen_attempts_can_stay(folder: Path) -> None:
    assert prune(folder, "chosen") == Pruned(1, len("first"))
    assert left(folder) == {"chosen", "shared", "unfinished", "foreign"}


def test_nothing_is_dropped_while_a_bulk_fills_the_folder_unless_it_prunes_itself(folder: Path) -> None:
    with hold_lock(folder / ".mesh/bulk.lock"):
        with pytest.raises(OutputError, match="expected a folder that no bulk writes to, got one held by process"):
            prune(folder, "none")
        assert prune(folder, "none", is_locked=True).files == 2


def test_nothing_is_dropped_while_a_mesh_has_the_memory_open(folder: Path) -> None:
    with open_store(folder / ".mesh/memory"), pytest.raises(OutputError, match="expected a readable folder, got: "):
        prune(folder, "none")
    assert left(folder) == {*NAMES}


def test_nothing_is_dropped_if_a_record_cannot_be_read(folder: Path) -> None:
    log = folder / ".mesh/memory/log"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    with pytest.raises(OutputError, match="expected to read every record before any picture is removed: "):
        prune(folder, "none")
    assert left(folder) == {*NAMES}


@pytest.mark.parametrize(
    ("config", "router", "is_refused"),
    [
        (MeshConfig(), None, False),
        (MeshConfig(blobs="mesh:"), None, False),
        (MeshConfig(blobs="s3://bucket/x"), None, True),
        (MeshConfig(blobs="file:///shared"), None, True),
        (MeshConfig(), "tcp://box:7000", True),
    ],
)
def test_pictures_that_others_may_use_are_never_dropped(
    config: MeshConfig, router: str | None, is_refused: bool
) -> None:
    if is_refused:
        with pytest.raises(UsageError, match="--keep-attempts: expected all, because pictures are kept at "):
            check_prunable(config, router)
    else:
        check_prunable(config, router)


def test_a_picture_that_a_task_was_given_stays_although_it_was_drawn_for_a_finished_one(folder: Path) -> None:
    image = ImageRef(digest=DIGESTS["first"], media_type="image/png", bytes=1, width_px=16, height_px=16)
    first, *_, ended = story("edits", 0)
    assert isinstance(first, TrajectoryBegun)
    with open_store(folder / ".mesh/memory") as store:
        given = structs.replace(first, task=structs.replace(first.task, references=(image,)))
        store.append([given, ended])
    prune(folder, "none")
    assert left(folder) == {"first", "shared", "unfinished", "foreign"}


def test_a_trajectory_that_was_reopened_keeps_its_images(folder: Path) -> None:
    ended = story("again", 0)
    first = ended[0]
    assert isinstance(first, TrajectoryBegun)
    image = ImageRef(digest=DIGESTS["first"], media_type="image/png", bytes=1, width_px=16, height_px=16)
    with open_store(folder / ".mesh/memory") as store:
        store.append(
            [
                first,
                AttemptVerified(trajectory=first.trajectory, attempt=attempt(1, "mu", image=image)),
                ended[-1],
                TrajectoryReopened(trajectory=first.trajectory, task=first.task, reopening=1),
            ]
        )
    prune(folder, "none")
    assert left(folder) == {"first", "shared", "unfinished", "foreign"}
