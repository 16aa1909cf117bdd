"""The catalogue follows the disk and survives any files on it."""

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import skills.catalogue
from skills import (
    Catalogue,
    SkillFormatError,
    SkillReadError,
    UnknownSkillError,
    builtin_folder,
    check_skill,
    load_skill,
)
from tests.skills.files import GEMS_FORMAT, OPEN_FORMAT, write_skill


def ids(catalogue: Catalogue) -> list[str]:
    return [skill.id for skill in catalogue.skills()]


def test_skills_of_both_formats_are_sorted_by_id(tmp_path: Path) -> None:
    write_skill(tmp_path, "hats")
    write_skill(tmp_path, "caps_and_more", GEMS_FORMAT)
    write_skill(tmp_path, "wigs", OPEN_FORMAT)
    catalogue = Catalogue([tmp_path])
    assert ids(catalogue) == ["caps_and_more", "hats", "wigs"]
    assert catalogue.manifest()[0] == ("caps_and_more", "Use for hats.")


def test_a_skill_is_found_by_its_id(tmp_path: Path) -> None:
    write_skill(tmp_path, "hats")
    catalogue = Catalogue([tmp_path])
    assert catalogue.get("hats").path == tmp_path / "hats"
    with pytest.raises(UnknownSkillError, match="expected one of the skills hats, got 'caps'"):
        catalogue.get("caps")


def test_a_later_folder_overrides_a_built_in_skill(tmp_path: Path) -> None:
    write_skill(tmp_path, "text-rendering")
    catalogue = Catalogue([builtin_folder(), tmp_path])
    assert catalogue.get("text-rendering").description == "Use for hats."
    assert len(ids(catalogue)) == 6


def test_a_skill_that_cannot_be_loaded_overrides_nothing(tmp_path: Path) -> None:
    write_skill(tmp_path, "text-rendering", "no description")
    catalogue = Catalogue([builtin_folder(), tmp_path])
    assert catalogue.get("text-rendering").path == builtin_folder() / "text-rendering"
    assert [skipped.path for skipped in catalogue.skipped()] == [tmp_path / "text-rendering"]


def test_added_edited_and_removed_skills_are_seen_at_the_next_call(tmp_path: Path) -> None:
    catalogue = Catalogue([tmp_path])
    assert ids(catalogue) == []
    path = write_skill(tmp_path, "hats")
    assert catalogue.get("hats").instructions == "Draw a hat."
    with (path / "SKILL.md").open("a") as file:
        file.write("And a feather.")
    assert catalogue.get("hats").instructions == "Draw a hat.\nAnd a feather."
    (path / "SKILL.md").unlink()
    path.rmdir()
    assert ids(catalogue) == []


def test_a_broken_skill_is_loaded_once_it_is_fixed(tmp_path: Path) -> None:
    write_skill(tmp_path, "hats", b"\xff")
    catalogue = Catalogue([tmp_path])
    assert (ids(catalogue), len(catalogue.skipped())) == ([], 1)
    write_skill(tmp_path, "hats")
    assert (ids(catalogue), len(catalogue.skipped())) == (["hats"], 0)


def test_only_what_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def noting_load(path: Path) -> skills.Skill:
        read.append(path.name)
        return load_skill(path)

    monkeypatch.setattr(skills.catalogue, "load_skill", noting_load)
    write_skill(tmp_path, "hats")
    write_skill(tmp_path, "wigs")
    write_skill(tmp_path, "broken", b"\xff")
    catalogue = Catalogue([tmp_path])
    catalogue.skills()
    catalogue.skipped()
    assert read == ["broken", "hats", "wigs"]
    write_skill(tmp_path, "wigs", OPEN_FORMAT)
    catalogue.skills()
    assert read == ["broken", "hats", "wigs", "wigs"]


def test_a_replacement_of_the_same_size_and_mtime_is_seen(tmp_path: Path) -> None:
    file = write_skill(tmp_path, "hats") / "SKILL.md"
    catalogue = Catalogue([tmp_path])
    before = file.stat()
    assert catalogue.get("hats").instructions == "Draw a hat."
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock ticks every few milliseconds
        file.write_text(file.read_text().replace("a hat.", "a cap."))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert catalogue.get("hats").instructions == "Draw a cap."


def test_files_hidden_folders_other_folders_and_circular_links_are_not_skills(tmp_path: Path) -> None:
    write_skill(tmp_path, "hats")
    write_skill(tmp_path, ".hidden")
    (tmp_path / "README.md").write_text("not a folder")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "parent").symlink_to(tmp_path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "linked-hats").symlink_to(tmp_path / "hats")
    catalogue = Catalogue([tmp_path])
    assert ids(catalogue) == ["hats", "linked-hats"]
    assert [skipped.id for skipped in catalogue.skipped()] == ["circle"]


def test_a_pipe_or_folder_instead_of_the_file_is_skipped_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder" / "SKILL.md").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "SKILL.md")
    reason = "SKILL.md:1: expected a regular file, got another kind of file"
    assert [(skipped.id, skipped.reason) for skipped in Catalogue([tmp_path]).skipped()] == [
        ("folder", reason),
        ("pipe", reason),
    ]


@pytest.mark.parametrize("name", [b"line\nbreak", b"not-utf8-\xff"])
def test_a_folder_name_that_does_not_fit_a_manifest_is_skipped(tmp_path: Path, name: bytes) -> None:
    write_skill(tmp_path, os.fsdecode(name), OPEN_FORMAT.replace("{id}", "hats"))
    catalogue = Catalogue([tmp_path])
    assert ids(catalogue) == []
    assert "expected a folder name in printable UTF-8" in catalogue.skipped()[0].reason
    catalogue.skipped()[0].reason.encode()


def test_a_folder_that_does_not_exist_is_reported_and_the_others_load(tmp_path: Path) -> None:
    write_skill(tmp_path, "hats")
    catalogue = Catalogue([tmp_path / "missing", tmp_path])
    assert ids(catalogue) == ["hats"]
    assert [(skipped.id, skipped.path) for skipped in catalogue.skipped()] == [("missing", tmp_path / "missing")]
    assert "No such file or directory" in catalogue.skipped()[0].reason


pieces = st.sampled_from(
    b"---\n|name: x\n|description: a: b\n|description: y\n|&a [*a]\n|'|\"\\|## Description\n|## Instructions\n|? |\r|\0"
    b"|metadata:\n  a: 1\n|!!binary x\n|\xef\xbb\xbf|%YAML 9.9\n".split(b"|")
)
contents = st.binary() | st.lists(pieces | st.binary(max_size=6)).map(b"".join)


@given(contents | contents.map(lambda content: b"---\n" + content + b"\n---\n"))
def test_no_bytes_in_a_file_make_the_catalogue_or_the_check_raise(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_skill(folder, "hats", content)
        write_skill(folder, "wigs")
        catalogue = Catalogue([folder])
        assert "wigs" in ids(catalogue)
        assert sorted([*ids(catalogue), *(skipped.id for skipped in catalogue.skipped())]) == ["hats", "wigs"]
        checked = [*check_skill(folder / "hats"), *check_skill(folder / "hats", for_gems=True)]
        for text in (*chain(*checked), *(skipped.reason for skipped in catalogue.skipped())):
            assert text.startswith("SKILL.md:")
            assert "\n" not in text.encode().decode()
        for entry in catalogue.manifest():
            assert entry.description.encode()


def test_a_missing_file_is_a_format_error_rather_than_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(SkillFormatError, match="expected a readable file, got No such file"):
        load_skill(tmp_path)


@pytest.fixture
def no_descriptors() -> Iterator[Callable[[], None]]:
    """Return a function that lets this process open no more files until the end of the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def use_up() -> None:
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))

    yield use_up
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("is_known", [False, True])
def test_a_folder_that_cannot_be_read_now_is_a_failure_and_not_a_folder_without_skills(
    tmp_path: Path, no_descriptors: Callable[[], None], is_known: bool
) -> None:
    write_skill(tmp_path, "hats")
    catalogue = Catalogue([tmp_path])
    if is_known:
        assert ids(catalogue) == ["hats"]
    no_descriptors()
    with pytest.raises(SkillReadError, match="expected to read skills, got: Too many open files"):
        catalogue.skills()


def test_a_file_that_cannot_be_read_now_is_a_failure_and_not_skipped(
    tmp_path: Path, no_descriptors: Callable[[], None]
) -> None:
    write_skill(tmp_path, "hats")
    no_descriptors()
    with pytest.raises(SkillReadError, match=r"hats/SKILL.md: expected to read skills, got: Too many open files"):
        load_skill(tmp_path / "hats")
