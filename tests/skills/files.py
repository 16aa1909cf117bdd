"""Skills written to disk for a test."""

from pathlib import Path

OPEN_FORMAT = """---
name: {id}
description: Use for hats.
---
Draw a hat.
"""

GEMS_FORMAT = """# Skill: Hats

## Description
Use for hats.

---

## Instructions
Draw a hat.

## Notes
Not a cap.
"""

DUAL_FORMAT = """---
name: {id}
description: Use for hats.
---

# Skill: Hats

## Description
Use for hats, says GEMS.

## Instructions
Draw a hat.
"""


def write_skill(folder: Path, skill_id: str, content: str | bytes = DUAL_FORMAT) -> Path:
    """Write a skill's folder below `folder`; `{id}` in a text becomes its id."""
    path = folder / skill_id
    path.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.replace("{id}", skill_id).encode()
    (path / "SKILL.md").write_bytes(content)
    return path
