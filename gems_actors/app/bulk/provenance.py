"""The file provenance.json: what a figure of a run needs to be made again, and nothing secret.

It puts together what the folder has already, in run.json, eval.json and scores.json, and what is known only while a
process draws: versions, settings, and what the model servers tell of themselves. A process that draws with others than
the one before adds an entry to `drawn_with`.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import msgspec

from gems_actors import __version__
from gems_actors.app.bulk.images.plan import Plan
from gems_actors.app.bulk.recipe import models_of
from gems_actors.app.bulk.run_spec import RunSpec
from gems_actors.app.picture_files import OutputError, write_whole
from gems_actors.config import MeshConfig
from gems_actors.files import os_reason
from gems_actors.terminal_text import without_passwords
from skills import Catalogue, builtin_folder

NAME: Final = "provenance.json"
_OF_DIFFUSERS: Final = ("torch", "diffusers", "transformers", "accelerate")
"""Packages that draw where the image model runs in this mesh."""
_OF_THIS_HOST: Final = ("data_dir", "log", "metrics", "traces", "gateway", "security", "slurm")
"""Settings that say where a mesh runs and who watches it, not what it draws."""
_SECRET = re.compile(r"key|token|secret|password|authorization|cookie", re.IGNORECASE)
"""Names of fields that a user sends to a server and whose values are left out; tokens that are counted stay."""
_COUNTED: Final = re.compile(r"tokens|_env$|_file$")

Told = Mapping[str, Mapping[str, Any]]
"""What the server of each model tells of it, by the table of its settings."""


class DrawnWith(msgspec.Struct, frozen=True, kw_only=True):
    """What a process drew with."""

    versions: dict[str, str]
    """Versions of this package, of Python, and of the packages that draw if the image model runs in this mesh."""
    models: dict[str, str]
    """Image model, chat models, hooks and replaced roles, as in the rows."""
    settings: dict[str, Any]
    """Settings that differ from the defaults, without secrets; for a mesh elsewhere, those of the command."""
    mesh: str = ""
    """Address of a mesh that was running already; its own settings may be others. Empty for the run's own."""
    servers: dict[str, dict[str, Any]] = {}
    """What the server of each model told of it, by the table of its settings; nothing where none was asked."""
    budget: dict[str, float] = {}
    """Images of the run, or the mean of a task, up to which it drew, named as in `run`; empty without such a limit."""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the file."""

    run: dict[str, Any]
    """Input, seed, samples, strategy, preset and options, as in run.json, and the images of the run if limited."""
    prompts_sha256: str | None
    """SHA-256 of the input file; None for standard input."""
    skills: dict[str, str | None]
    """SHA-256 of the SKILL.md of each skill that a picture was drawn with; None where it has changed since."""
    drawn_with: tuple[DrawnWith, ...]
    """What the processes drew with, the latest last."""
    evaluation: dict[str, Any] | None = None
    """Benchmark, prompt file and judge, as in eval.json and scores.json; None for a bulk."""


def write_provenance(
    folder: Path, spec: RunSpec, plan: Plan, used: Mapping[str, str], config: MeshConfig, drawn: DrawnWith | None
) -> None:
    """Write the file into the folder of a run.

    Args:
        folder: the folder.
        spec: specification of the run.
        plan: how it spends its images.
        used: digest of each skill that a picture was drawn with, as in the rows.
        config: settings of the mesh, which say where skills are.
        drawn: what this process drew with; None if it drew nothing.

    Raises:
        OutputError: the file, or the input, cannot be read or written.
    """
    earlier = _read(folder)
    before = () if earlier is None else earlier.drawn_with
    run = {name: getattr(spec, name) for name in ("source", "seed", "samples", "strategy", "preset", "settings")}
    budget = {"run_images": plan.images, "mean_images": plan.mean}
    limits = {name: value for name, value in budget.items() if value is not None}
    if drawn is not None:
        drawn = msgspec.structs.replace(drawn, budget=limits)
    found = Provenance(
        run=run | limits,
        prompts_sha256=_sha256_of(Path(spec.source)),
        skills=_skills_of(config, used),
        drawn_with=before if drawn is None or drawn in before[-1:] else (*before, drawn),
        evaluation=None if earlier is None else earlier.evaluation,
    )
    _write(folder, found)


def add_evaluation(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Note what the run evaluates, once its pictures exist.

    Raises:
        OutputError: the file cannot be read or written.
    """
    if (found := _read(folder)) is not None:
        _write(folder, msgspec.structs.replace(found, evaluation=dict(evaluation)))


def drawn_with(config: MeshConfig, told: Told, router: str | None) -> DrawnWith:
    """Return what a process draws with."""
    versions = {"gems-actors": __version__, "python": platform.python_version()}
    if config.image.backend == "diffusers" and router is None:
        for name in _OF_DIFFUSERS:
            with suppress(PackageNotFoundError):
                versions[name] = version(name)
    settings = _changed(msgspec.to_builtins(config), msgspec.to_builtins(MeshConfig()))
    for name in _OF_THIS_HOST:
        settings.pop(name, None)
    text = without_passwords(msgspec.json.encode(_without_secrets(settings)).decode())
    servers = without_passwords(msgspec.json.encode(dict(told)).decode())
    return DrawnWith(
        versions=versions,
        models=models_of(config),
        settings=msgspec.json.decode(text),
        mesh=router or "",
        servers=msgspec.json.decode(servers),
    )


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from the defaults."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, dict) and isinstance(default, dict):
            if inner := _changed(value, default):
                found[name] = inner
        elif name not in defaults or value != default:
            found[name] = value
    return found


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_secrets(item)
            for name, item in value.items()
            if not _SECRET.search(name) or _COUNTED.search(name) or isinstance(item, dict)
        }
    return [_without_secrets(item) for item in value] if isinstance(value, list | tuple) else value


def _skills_of(config: MeshConfig, used: Mapping[str, str]) -> dict[str, str | None]:
    known = {skill.id: skill for skill in Catalogue((builtin_folder(), *map(Path, config.skills.folders))).skills()}
    found: dict[str, str | None] = {}
    for id_, digest in sorted(used.items()):
        skill = known.get(id_)
        found[id_] = _sha256_of(skill.path / "SKILL.md") if skill is not None and skill.digest == digest else None
    return found


def _sha256_of(path: Path) -> str | None:
    """Return the digest of a file; None if there is none, as for standard input."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _read(folder: Path) -> Provenance | None:
    path = folder / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Provenance)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path}: expected a readable file, got: {os_reason(error)}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise OutputError(f"{path}: expected the provenance of a run, got: {error}") from error


def _write(folder: Path, provenance: Provenance) -> None:
    write_whole(folder / NAME, msgspec.json.format(msgspec.json.encode(provenance), indent=2) + b"\n")
