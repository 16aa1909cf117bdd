"""Skills: instructions for writing image prompts of one kind, each in a folder with a SKILL.md.

The planner is shown the catalogue's manifest and may choose one skill, whose instructions then guide the first prompt.
The folders next to this file are the built-in skills. This package must not know the mesh or its messages.
"""

from skills.catalogue import Catalogue, ManifestEntry, Skill, SkippedSkill, builtin_folder, load_skill
from skills.checking import SkillCheck, check_skill
from skills.errors import SkillError, SkillFormatError, SkillReadError, UnknownSkillError

__all__ = [
    "Catalogue",
    "ManifestEntry",
    "Skill",
    "SkillCheck",
    "SkillError",
    "SkillFormatError",
    "SkillReadError",
    "SkippedSkill",
    "UnknownSkillError",
    "builtin_folder",
    "check_skill",
    "load_skill",
]
