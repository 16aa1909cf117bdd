"""What is read from a SKILL.md, valid or broken."""

from pathlib import Path

import pytest

from skills import SkillFormatError, load_skill
from tests.skills.files import DUAL_FORMAT, GEMS_FORMAT, OPEN_FORMAT, write_skill


def test_the_open_format_has_name_description_and_body(tmp_path: Path) -> None:
    skill = load_skill(write_skill(tmp_path, "hats", OPEN_FORMAT))
    assert (skill.id, skill.name, skill.description) == ("hats", "hats", "Use for hats.")
    assert skill.instructions == "Draw a hat."
    assert skill.problems == ()


def test_the_format_of_gems_has_a_description_and_instructions_to_the_end(tmp_path: Path) -> None:
    skill = load_skill(write_skill(tmp_path, "Fancy_hats", GEMS_FORMAT))
    assert (skill.id, skill.name, skill.description) == ("Fancy_hats", "fancy-hats", "Use for hats.")
    assert skill.instructions == "Draw a hat.\n\n## Notes\nNot a cap."
    assert skill.problems == ()


def test_front_matter_wins_in_a_file_of_both_formats(tmp_path: Path) -> None:
    skill = load_skill(write_skill(tmp_path, "hats", DUAL_FORMAT))
    assert skill.description == "Use for hats."
    assert skill.instructions == "Draw a hat."


def test_a_section_replaces_a_missing_description_of_the_front_matter(tmp_path: Path) -> None:
    skill = load_skill(write_skill(tmp_path, "hats", DUAL_FORMAT.replace("description: Use for hats.", "license: MIT")))
    assert skill.description == "Use for hats, says GEMS."
    assert skill.problems == ("SKILL.md:1: expected a description in the front matter, got none",)


@pytest.mark.parametrize(
    ("value", "description"),
    [
        ("Use when: it's a hat", "Use when: it's a hat"),
        ("Use for hats\n  and also: caps", "Use for hats and also: caps"),
        ("Hats:", "Hats:"),
    ],
)
def test_an_unquoted_colon_is_accepted_and_noted(tmp_path: Path, value: str, description: str) -> None:
    skill = load_skill(
        write_skill(tmp_path, "hats", f"---\nname: hats\ndescription: {value}\nlicense: MIT\n---\nDraw.")
    )
    assert (skill.name, skill.description) == ("hats", description)
    assert [problem.split(" (")[0] for problem in skill.problems] in (
        ["SKILL.md:3: expected YAML, got invalid text"],
        ["SKILL.md:4: expected YAML, got invalid text"],
    )


def test_a_multi_line_description_is_folded_like_yaml(tmp_path: Path) -> None:
    skill = load_skill(
        write_skill(tmp_path, "hats", "---\nname: hats\ndescription: >-\n  Use\n  for: hats\n---\nDraw.")
    )
    assert (skill.description, skill.problems) == ("Use for: hats", ())


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    content = "\ufeff" + GEMS_FORMAT.replace("\n", "\r\n")
    skill = load_skill(write_skill(tmp_path, "hats", content))
    assert (skill.description, skill.instructions) == ("Use for hats.", "Draw a hat.\n\n## Notes\nNot a cap.")
    assert skill.problems == ("SKILL.md:1: expected UTF-8 without a byte order mark, got one",)


def test_a_skill_that_violates_the_specification_is_loaded_with_its_problems(tmp_path: Path) -> None:
    skill = load_skill(write_skill(tmp_path, "hats", "---\nname: Caps\ndescription: 7\ncolour: red\n---\n"))
    assert (skill.name, skill.description, skill.instructions) == ("Caps", "7", "")
    assert [problem.split(",")[0] for problem in skill.problems] == [
        "SKILL.md:2: expected a name of lowercase letters",
        "SKILL.md:2: expected the folder's name",
        "SKILL.md:3: expected description as text",
        "SKILL.md:4: expected one of the keys name",
        "SKILL.md:6: expected instructions",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"SKILL.md:1: expected a description, got none"),
        (b"---\nname: hats\n---\nDraw.", "SKILL.md:1: expected a description, got none"),
        (b"---\ndescription: [a, list]\n---\nDraw.", "SKILL.md:1: expected a description, got none"),
        (b"---\ndescription: ~\n---\nDraw.", "SKILL.md:1: expected a description, got none"),
        (b"---\ndescription: hats\n", "SKILL.md:1: expected front matter closed"),
        (b"---\n- hats\n---\nDraw.", "SKILL.md:2: expected front matter of 'key: value' lines, got seq"),
        (b"---\n? [a]\n: b\n---\nDraw.", "SKILL.md:2: expected a plain key, got seq"),
        (b"---\nname: hats\nname: caps\n---\nDraw.", "SKILL.md:3: expected unique keys, got 'name' twice"),
        (b"---\nname: hats\ndescription: 'hats\n---\nDraw.", r"SKILL.md:4: expected YAML, got invalid text \("),
        (b'---\ndescription: "\\UFFFFFFFF"\n---\nDraw.', "SKILL.md:2: expected YAML"),
        (b'---\ndescription: "half \\uD800"\n---\nDraw.', "SKILL.md:2: expected YAML.*UnicodeEncodeError"),
        (b"---\ndescription: " + b"[" * 600 + b"\n---\nDraw.", "SKILL.md:2: expected YAML.*RecursionError"),
        (b"---\nname: hats\ndescription: h\xff\n---\n", "SKILL.md:3: expected UTF-8, got byte 0xff"),
        (b" " * 300_000, "SKILL.md:1: expected at most 262144 bytes, got 300000"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(SkillFormatError, match=reason):
        load_skill(write_skill(tmp_path, "hats", content))
