"""Skills in the shapes that are found in public repositories pass the check, and the planner can load them."""

from pathlib import Path

import pytest

from skills import check_skill, load_skill
from tests.skills.files import DUAL_FORMAT, GEMS_FORMAT, OPEN_FORMAT, write_skill

HEAD = "---\nname: {id}\n"
BODY = "# Hats\n\nDraw a hat.\n"
LONG_BODY = "# Hats\n\n" + "".join(f"## Step {step}\n\nDraw a hat of kind {step}.\n\n" for step in range(300))

SHAPES = {
    "the smallest skill": OPEN_FORMAT,
    "the format of GEMS": GEMS_FORMAT,
    "both formats": DUAL_FORMAT,
    "a license and a quoted description": f'{HEAD}description: "Use for hats: \\"top\\" hats, too."\nlicense: '
    f"Proprietary. LICENSE.txt has complete terms\n---\n{BODY}",
    "single quotes": f"{HEAD}description: 'Use for hats; it''s about hats.'\n---\n{BODY}",
    "a folded description": f"{HEAD}description: >\n  Use for hats,\n  caps and wigs.\n\n  Not for shoes.\n---\n{BODY}",
    "a folded description without a last line end": f"{HEAD}description: >-\n  Use for hats,\n  and caps.\n---\n{BODY}",
    "a literal description": f"{HEAD}description: |\n  Use for hats.\n  - caps\n  - wigs: all\n---\n{BODY}",
    "a description over several lines": f"{HEAD}description: Use for hats,\n  caps\n  and wigs.\n---\n{BODY}",
    "a colon in a plain description": f"{HEAD}description: Use for hats: caps, wigs. Triggers: hat, cap\n---\n{BODY}",
    "a hash and brackets in a description": f"{HEAD}description: Use for hats (C# ones, [any] size)\n---\n{BODY}",
    "unicode": f"{HEAD}description: 用于绘制帽子 — “chapeaux” 🎩\n---\n# Hüte\n\nZeichne einen Hut 🎩.\n",
    "Windows line ends": OPEN_FORMAT.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + OPEN_FORMAT,
    "no last line end": OPEN_FORMAT.rstrip(),
    "trailing blanks at the fences": OPEN_FORMAT.replace("---\n", "---  \n"),
    "tools as text": f"{HEAD}description: Use for hats.\nallowed-tools: Bash(git:*) Bash(jq:*) Read\n---\n{BODY}",
    "tools as a list": f"{HEAD}description: Use for hats.\nallowed-tools:\n  - Read\n  - Write\n---\n{BODY}",
    "every key": f"{HEAD}description: Use for hats.\nlicense: MIT\ncompatibility: Requires Python 3.11+\nmetadata:\n"
    f'  author: a\n  version: "1.0"\nallowed-tools: Read\n---\n{BODY}',
    "further keys": f"{HEAD}description: Use for hats.\nversion: 1.2.0\nargument-hint: '[hat]'\n"
    f"disable-model-invocation: true\ntags: [hats, caps]\n---\n{BODY}",
    "nested metadata": f"{HEAD}description: Use for hats.\nmetadata:\n  version: 1.0\n  updated: 2026-01-02\n"
    f"  tool:\n    requires: {{bins: [jq]}}\n    emoji: 🎩\n---\n{BODY}",
    "comments in the front matter": f"---\n# a hat\nname: {{id}}  # folder\ndescription: Use for hats.\n---\n{BODY}",
    "keys in another order": f"---\nlicense: MIT\ndescription: Use for hats.\nname: {{id}}\n---\n{BODY}",
    "an empty optional key": f"{HEAD}description: Use for hats.\nlicense:\n---\n{BODY}",
    "a body without a heading": f"{HEAD}description: Use for hats.\n---\nDraw a hat.\n",
    "rules and code in the body": f"{HEAD}description: Use for hats.\n---\n{BODY}\n---\n\n"
    "```yaml\n---\nname: x\n---\n```\n",
    "links to other files": f"{HEAD}description: Use for hats.\n---\n{BODY}\nSee [forms](references/FORMS.md), run "
    "`scripts/hat.py`, ![hat](assets/hat.png), [elsewhere](../../etc/passwd).\n",
    "a long body": f"{HEAD}description: Use for hats.\n---\n{LONG_BODY}",
    "a description of 1,024 characters": f"{HEAD}description: {'hat ' * 255}hats\n---\n{BODY}",
    "front matter of another tool before the sections of GEMS": f"---\ntitle: Hats\n---\n\n{GEMS_FORMAT}",
    "the format of GEMS with Windows line ends": GEMS_FORMAT.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("content", SHAPES.values(), ids=SHAPES)
def test_a_skill_in_a_shape_of_the_wild_is_valid_and_can_be_loaded(tmp_path: Path, content: str) -> None:
    path = write_skill(tmp_path, "hats", content)
    for folder in ("scripts", "references", "assets"):
        (path / folder).mkdir()
        (path / folder / "hat.md").write_text("## Description\nNot this file.\n")
    assert check_skill(path).problems == ()
    skill = load_skill(path)
    assert skill.name == "hats"
    assert skill.description
    assert "---" not in skill.description
    assert skill.instructions


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ("a byte order mark", "SKILL.md:1: expected UTF-8 without a byte order mark, got one"),
        ("a colon in a plain description", "SKILL.md:3: expected YAML, got invalid text"),
        ("further keys", "SKILL.md:4: expected one of the keys name, description, license"),
        ("nested metadata", "SKILL.md:5: expected metadata from text to text, in quotes where YAML reads another type"),
        ("a long body", "SKILL.md:5: expected a body of fewer than 500 lines, got 1202"),
    ],
)
def test_what_some_clients_do_not_read_is_a_note(tmp_path: Path, shape: str, note: str) -> None:
    notes = check_skill(write_skill(tmp_path, "hats", SHAPES[shape])).notes
    assert any(found.startswith(note) for found in notes), notes


def test_a_skill_in_the_open_format_alone_is_a_problem_for_gems_but_not_for_other_clients(tmp_path: Path) -> None:
    path = write_skill(tmp_path, "hats", OPEN_FORMAT)
    assert check_skill(path) == ((), ())
    assert [problem.split(" with")[0] for problem in check_skill(path, for_gems=True).problems] == [
        "SKILL.md:5: expected for GEMS a '## Description'",
        "SKILL.md:5: expected for GEMS a '## Instructions'",
    ]


def test_a_name_may_have_letters_of_any_script(tmp_path: Path) -> None:
    assert check_skill(write_skill(tmp_path, "hüte-帽子", OPEN_FORMAT)).problems == ()
