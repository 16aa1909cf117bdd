"""The specification of a run, which its folder stores in run.json: input, options, and how its pictures were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from gems_actors.app.bulk.finished.identity import BY_CONTENT, BY_INDEX
from gems_actors.app.bulk.reading.records import IMAGE_COLUMN, PROMPT_COLUMN, RecordOptions
from gems_actors.app.bulk.recipe import Recipe
from gems_actors.app.bulk.tasks import STANDARD_INPUT
from gems_actors.app.options import DrawOptions, read_config
from gems_actors.app.picture_files import OutputError, PictureFormat, text_of_path
from gems_actors.config import MeshConfig
from gems_actors.files import reason_of

Consent = Literal["keep", "redraw"]
"""What to do with finished pictures that were drawn in another way: `--keep` or `--redraw`."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The specification of a run, stored in run.json: every process that works on the folder uses it."""

    source: str
    """Absolute path of the input file, or `standard input`."""
    seed: int
    samples: int
    """Pictures per prompt, unless a record has its own number."""
    strategy: str
    settings: dict[str, Any]
    """Options that differ from the configured settings, by the names that `draw_settings` knows."""
    config_file: str | None
    overrides: tuple[str, ...]
    preset: str | None = None
    """Named set of settings."""
    pictures: PictureFormat = "png"
    attempts: bool = False
    """Whether the dataset has a row and a picture for every attempt."""
    keep_attempts: Literal["none", "chosen", "all"] = "all"
    """Pictures of finished tasks that stay in the mesh's store at the end of a process."""
    prompt_column: str = PROMPT_COLUMN
    """The field of a record that is its prompt."""
    identity: int = BY_INDEX
    """How records become tasks; folders of earlier versions have none, and go by index."""
    id_column: str | None = None
    """Field of a record that is the id of its task and the name of its files."""
    image_column: str | None = None
    """Field of a record with the pictures that it is drawn from; empty: none. Folders of earlier versions have no such
    setting, and keep the field as metadata."""
    recipes: tuple[Recipe, ...] = ()
    """Recipes that finished pictures may have been drawn with, the latest last."""
    consent: Consent | None = None
    """`keep`: finished pictures stay as they are; `redraw`: those of another recipe than the latest are drawn again."""
    consent_input: str = ""
    """Size and time of the input to which `redraw` was agreed, where an edited record can change its picture."""

    @property
    def record_options(self) -> RecordOptions:
        """How records of the input become tasks."""
        return RecordOptions(self.samples, self.prompt_column, self.id_column, self.image_column or None)

    def read_config(self) -> MeshConfig:
        """Return the settings of the mesh that draws.

        Raises:
            ConfigError: a setting is unknown or invalid.
        """
        return read_config(None if self.config_file is None else Path(self.config_file), self.overrides, self.preset)


def spec_of(
    file: Path,
    options: DrawOptions,
    *,
    samples: int = 1,
    pictures: PictureFormat = "png",
    attempts: bool = False,
    keep_attempts: Literal["none", "chosen", "all"] = "all",
    prompt_column: str = PROMPT_COLUMN,
    id_column: str | None = None,
    image_column: str = IMAGE_COLUMN,
) -> RunSpec:
    """Return the specification of a run over a file; `-` is standard input.

    Raises:
        UsageError: the options contradict one another.
    """
    return RunSpec(
        source=STANDARD_INPUT if file == Path("-") else text_of_path(file.absolute()),
        seed=options.seed or 0,
        samples=samples,
        strategy=options.strategy or "gems",
        settings=options.settings(),
        config_file=None if options.config_file is None else text_of_path(options.config_file.absolute()),
        overrides=options.overrides,
        preset=options.preset,
        pictures=pictures,
        attempts=attempts,
        keep_attempts=keep_attempts,
        prompt_column=prompt_column,
        identity=BY_CONTENT,
        id_column=id_column,
        image_column="" if image_column == "none" else image_column,
    )


def read_run(path: Path) -> RunSpec | None:
    """Return the specification of a folder's run, or None for a folder without one.

    Raises:
        OutputError: run.json cannot be read.
    """
    try:
        return msgspec.json.decode((path / "run.json").read_bytes(), type=RunSpec)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise OutputError(f"{path}: expected a folder, got a file") from error
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise OutputError(
            f"{path / 'run.json'}: expected the specification of a run, got: {reason_of(error)}"
        ) from error


def check_run(path: Path, run: RunSpec) -> None:
    """Check that a run can fill a folder, which need not exist.

    Raises:
        OutputError: the folder holds the output of another input, of another format or of an earlier version.
    """
    if (earlier := read_run(path)) is None:
        if (path / "metadata.jsonl").exists():
            raise OutputError(f"{path}: expected a new folder, got one with another metadata.jsonl in it")
        return
    if earlier.source != run.source:
        raise OutputError(f"{path}: expected a new folder or the output of {run.source}, got that of {earlier.source}")
    if earlier.id_column != run.id_column:
        columns = (f"--id-column {spec.id_column}" if spec.id_column else "no --id-column" for spec in (earlier, run))
        raise OutputError("{}: expected a new folder or {} as before, got {}".format(path, *columns))
    if earlier.image_column not in (None, run.image_column):
        columns = (f"--image-column {spec.image_column or 'none'}" for spec in (earlier, run))
        raise OutputError("{}: expected a new folder or {} as before, got {}".format(path, *columns))
    if (earlier.pictures, earlier.attempts) != (run.pictures, run.attempts):
        shapes = (f"--pictures {spec.pictures}{' --attempts' * spec.attempts}" for spec in (earlier, run))
        raise OutputError("{}: expected a new folder or {} as before, got {}".format(path, *shapes))


def remembering(run: RunSpec, earlier: RunSpec | None) -> RunSpec:
    """Return a run with what its folder remembers of the runs before: identity, recipes and consent."""
    if earlier is None:
        return run
    names = ("identity", "image_column", "recipes", "consent", "consent_input")
    return msgspec.structs.replace(run, **{name: getattr(earlier, name) for name in names})
