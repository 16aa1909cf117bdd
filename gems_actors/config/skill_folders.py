"""Where skills are: the built-in ones, those that `gems skills learn` has accepted, and the configured ones."""

from __future__ import annotations

from pathlib import Path

from gems_actors.config.schema import MeshConfig, user_state_path
from skills import Catalogue, builtin_folder


def own_skill_folders(config: MeshConfig) -> list[Path]:
    """Return the folders with skills that are not built in; the first one need not exist."""
    return [user_state_path() / "skills", *(Path(folder).expanduser() for folder in config.skills.folders)]


def learnt_skills_folder(config: MeshConfig) -> Path:
    """Return the folder for learnt skills: the first configured one, or one in this user's state folder."""
    default, *configured = own_skill_folders(config)
    return configured[0] if configured else default


def catalogue_of(config: MeshConfig) -> Catalogue:
    """Return the skills that a planner with these settings chooses from."""
    own = own_skill_folders(config)
    return Catalogue([builtin_folder(), *own], optional=own[:1])
