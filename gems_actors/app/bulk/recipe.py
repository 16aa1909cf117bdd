"""What pictures follow from: seed, settings, models and skills, and the key that stands for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from gems_actors.app.bulk.folder import RunSpec
from gems_actors.app.bulk.rows import key_of
from gems_actors.app.bulk.tasks import Task, seed_of
from gems_actors.app.options import draw_settings
from gems_actors.config import LoopConfig, MeshConfig
from gems_actors.errors import RefusedError
from gems_actors.roles import BUILT_IN_ROLES
from protocol.messages import DrawSettings, Picture
from skills import Catalogue, builtin_folder


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all pictures of a run follow from, besides their own records."""

    seed: int
    settings: DrawSettings
    models: Mapping[str, str]
    """Name of the image model and of the chat models."""
    skills: str
    """Digest of all skills."""

    def seed_of(self, task: Task, sample: int) -> int:
        """Return the seed of one sample of a task."""
        return seed_of(task, self.seed, sample)

    def settings_of(self, task: Task) -> DrawSettings:
        """Return the settings of a task: those of its record in place of the run's."""
        return msgspec.structs.replace(self.settings, **task.settings)

    def key_of(self, task: Task, sample: int) -> str:
        """Return the key of a picture; it changes with everything that the picture follows from."""
        settings = self.settings_of(task)
        return key_of(task.prompt, self.seed_of(task, sample), settings, self.models, self.skills)


def recipe_of(spec: RunSpec, config: MeshConfig) -> Recipe:
    """Return the recipe of a run in a mesh with these settings."""
    return Recipe(spec.seed, draw_settings(config, spec.settings), models_of(config), _digest_of_skills(config))


def models_of(config: MeshConfig) -> dict[str, str]:
    """Return what draws: image model, chat models, by role where they differ, the loop's hooks, and replaced roles."""
    hooks = hooks_of(config)
    asked = {*BUILT_IN_ROLES, *(role for _, role, _ in config.loop.hooks())}
    configured = {role: config.chat.of(role) for role in config.chat_roles if role in asked}
    chats = {role: model.model or model.backend for role, model in configured.items()}
    shown = {"chat": next(iter(chats.values()))} if len({*chats.values()}) == 1 else chats
    return {"image": config.image.shown_name, **shown, **hooks, **_replaced_roles(config)}


def hooks_of(config: MeshConfig) -> dict[str, str]:
    """Return role and declared version of each hook in `[loop]`, by setting; empty unless hooks are configured."""
    specs = config.role_specs if config.loop != LoopConfig() else {}
    return {setting: f"{role} {specs[role].version}".rstrip() for setting, role, _ in config.loop.hooks()}


def _replaced_roles(config: MeshConfig) -> dict[str, str]:
    """Return class and declared version of each built-in role whose class is the user's own."""
    own = {name: spec for name, spec in config.role_specs.items() if spec.actor != BUILT_IN_ROLES.get(name, spec).actor}
    return {f"roles.{name}": f"{spec.actor} {spec.version}".rstrip() for name, spec in own.items()}


def check_hooks(picture: Picture, models: Mapping[str, str]) -> None:
    """Check that a mesh asked exactly the hooks that the run's settings name, because they are part of the key.

    Raises:
        RefusedError: it asked other hooks, hooks of another version, or none.
    """
    is_due_by_setting = {
        "before_plan": True,
        "after_verdicts": bool(picture.requirements),
        "before_refinement": any(attempt.round > 1 for attempt in picture.attempts),
    }
    for setting, is_due in is_due_by_setting.items():
        hook = picture.hooks.get(setting)
        found = f"{hook.role} {hook.version}".rstrip() if hook else "no hook"
        expected = models.get(setting, "no hook")
        if found != expected and (hook or is_due):
            raise RefusedError(
                f"loop.{setting}: expected a picture of {expected}, got one of {found}; use the settings of the mesh"
            )


def _digest_of_skills(config: MeshConfig) -> str:
    """Return a digest of all skills of a mesh, 16 hexadecimal digits."""
    folders = (builtin_folder(), *(Path(folder) for folder in config.skills.folders))
    found = sorted((skill.id, skill.description, skill.instructions) for skill in Catalogue(folders).skills())
    return blake2b(msgspec.json.encode(found), digest_size=8).hexdigest()
