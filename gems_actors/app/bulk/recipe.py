"""What pictures follow from: seed, settings, models and the skill that was used, and the key that stands for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

from gems_actors.app.bulk.finished.identity import seed_of
from gems_actors.app.bulk.rows import key_of
from gems_actors.app.bulk.tasks import Task
from gems_actors.app.options import draw_settings
from gems_actors.app.references.drawing import sized_like
from gems_actors.config import LoopConfig, MeshConfig
from gems_actors.config.skill_folders import catalogue_of
from gems_actors.errors import RefusedError
from gems_actors.roles import BUILT_IN_ROLES
from protocol.messages import Budget, DrawPicture, DrawSettings, Picture

_MAX_SHOWN_CHARS: Final = 40
SIMULATED_ERRORS: Final = " (simulated errors: "
"""Begins the part of a verifier's name that tells its simulated errors."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What all pictures of a run follow from, besides their own records; kept in run.json."""

    seed: int
    settings: DrawSettings
    models: dict[str, str]
    """Name of the image model and of the chat models."""
    skills: dict[str, str]
    """Digest of each skill by its id."""
    all_skills: str
    """Digest of all skills, which is part of the keys in folders of earlier versions."""
    has_own_size: bool = False
    """Whether the run has its own size; else a task that is drawn from a picture has the picture's proportions."""

    def seed_of(self, task: Task, sample: int) -> int:
        """Return the seed of one sample of a task."""
        return seed_of(task, self.seed, sample)

    def settings_of(self, task: Task) -> DrawSettings:
        """Return the settings of a task: those of its record in place of the run's."""
        settings = msgspec.structs.replace(self.settings, **task.settings) if task.settings else self.settings
        if not task.references or self.has_own_size or "width_px" in task.settings:
            return settings
        return sized_like(task.references[0], settings)

    def key_of(self, task: Task, sample: int) -> str:
        """Return the key of a picture; it changes with everything that the picture follows from, except its skill."""
        settings, skills = self.settings_of(task), "" if task.id else self.all_skills
        return key_of(task.prompt, self.seed_of(task, sample), settings, self.models, skills, task.digests)

    def request_of(self, run: str, task: Task, sample: int, key: str, budget: Budget) -> DrawPicture:
        """Return the request to a mesh for one sample of a task, without the pictures that it is drawn from."""
        return DrawPicture(
            run=run,
            line=task.index,
            sample=sample,
            version=key,
            prompt=task.prompt,
            seed=self.seed_of(task, sample),
            settings=self.settings_of(task),
            budget=budget,
            task=task.id,
        )

    def draws_like(self, other: Recipe, skills: Iterable[str]) -> bool:
        """Return whether another recipe draws the same pictures, as far as they used these skills."""
        same = (self.seed, self.settings, self.models) == (other.seed, other.settings, other.models)
        return same and all(self.skills.get(skill) == other.skills.get(skill) for skill in skills)

    def changes_from(self, other: Recipe) -> Iterator[str]:
        """Yield what differs from an earlier recipe, such as `draw.steps 8 -> 12`; skills are left out."""
        yield from _changes("", {"seed": other.seed}, {"seed": self.seed})
        yield from _changes("draw.", *map(msgspec.structs.asdict, (other.settings, self.settings)))
        yield from _changes("", *(_by_setting(recipe.models) for recipe in (other, self)))


def recipe_of(seed: int, settings: Mapping[str, Any], config: MeshConfig) -> Recipe:
    """Return the recipe of a run in a mesh with these settings; `settings` are the run's own, as in run.json."""
    skills = catalogue_of(config).skills()
    found = sorted((skill.id, skill.description, skill.instructions) for skill in skills)
    return Recipe(
        seed=seed,
        settings=draw_settings(config, settings),
        has_own_size="size" in settings,
        models=models_of(config),
        skills={skill.id: skill.digest for skill in skills},
        all_skills=blake2b(msgspec.json.encode(found), digest_size=8).hexdigest(),
    )


def _by_setting(models: Mapping[str, str]) -> dict[str, str]:
    """Return what draws by the setting that names it: models by role, hooks, and replaced roles."""
    return {
        name if "." in name else f"loop.{name}" if name in LoopConfig.__struct_fields__ else f"models.{name}": model
        for name, model in models.items()
    }


def _changes(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        values = ["default" if side.get(name) is None else str(side[name]) for side in (before, after)]
        if values[0] != values[1]:
            shown = " -> ".join(value[:_MAX_SHOWN_CHARS] or "empty" for value in values)
            yield f"{prefix}{name} {shown}"


def models_of(config: MeshConfig) -> dict[str, str]:
    """Return what draws: image model, chat models, by role where they differ, the loop's hooks, and replaced roles."""
    hooks = hooks_of(config)
    asked = {*BUILT_IN_ROLES, *(role for _, role, _ in config.loop.hooks())}
    configured = {role: config.chat.of(role) for role in config.chat_roles if role in asked}
    chats = {role: model.model or model.backend for role, model in configured.items()}
    if "verifier" in chats and (errors := str(config.storyboard.verifier_error)):
        chats["verifier"] += f"{SIMULATED_ERRORS}{errors})"
    shown = {"chat": next(iter(chats.values()))} if len({*chats.values()}) == 1 else chats
    verifying = {"verify": shown_verify} if (shown_verify := _verifying(config)) else {}
    own = {**hooks, **replaced_roles(config), **_laboratory(config)}
    return {"image": config.image.drawn_by, **shown, **verifying, **own}


def _verifying(config: MeshConfig) -> str:
    """Return how verdicts come about where it differs from what folders of earlier versions know; else nothing."""
    verify = config.verify
    parts: list[str] = [verify.mode] if verify.mode == "evidence" else []
    parts += [f"text by {verify.text}"] if verify.text != "model" else []
    parts += [f"{verify.votes} votes{' on all' * (verify.vote_on == 'all')}"] if verify.votes > 1 else []
    for kind, own in msgspec.structs.asdict(verify.thresholds).items():
        parts += [f"{kind} met from {own.met_from:g}, unmet below {own.unmet_below:g}"] if own is not None else []
    return ", ".join(parts)


def hooks_of(config: MeshConfig) -> dict[str, str]:
    """Return role and declared version of each hook in `[loop]`, by setting; empty unless hooks are configured."""
    specs = config.role_specs if config.loop != LoopConfig() else {}
    return {setting: f"{role} {specs[role].version}".rstrip() for setting, role, _ in config.loop.hooks()}


def replaced_roles(config: MeshConfig) -> dict[str, str]:
    """Return class and declared version of each built-in role whose class is the user's own."""
    own = {name: spec for name, spec in config.role_specs.items() if spec.actor != BUILT_IN_ROLES.get(name, spec).actor}
    return {f"roles.{name}": f"{spec.actor} {spec.version}".rstrip() for name, spec in own.items()}


def _laboratory(config: MeshConfig) -> dict[str, str]:
    """Return what the settings plant in the storyboard's pictures; nothing outside of experiments."""
    planted = config.storyboard.planted
    shown = "; ".join(f"{item.words!r} {item.kind} x {item.factor:g}" for item in planted)
    return {"storyboard.planted": shown} if planted else {}


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
