"""Asks the verifier's model the questions of a calibration, fits thresholds, and writes them as settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final, get_args

import trio

from actors.verifier import verify_picture
from gems_actors import __version__
from gems_actors.app.calibration.cases import Case, read_cases
from gems_actors.app.calibration.fitting import (
    MIN_CASES,
    MIN_OF_EACH,
    Calibration,
    Method,
    Quality,
    Thresholds,
    can_fit,
    fit,
    measure,
    thresholds_of,
)
from gems_actors.app.picture_files import OutputError, write_whole
from gems_actors.backends import ChatModel, ImagePart
from gems_actors.backends.factory import open_chat_model
from gems_actors.backends.pictures import visible_picture
from gems_actors.config import MeshConfig, VerifyConfig
from gems_actors.errors import UsageError
from gems_actors.files import open_regular, os_reason, read_regular, reason_of
from gems_actors.tasks import gather
from protocol.messages import Answer, Requirement, RequirementKind

ALL: Final = "all"
"""Name of the group of all cases."""
_AT_ONCE: Final = 16
_HEAD: Final = "# Thresholds for the scores of"
"""Beginning of every file that is written, and so of every file that may be replaced."""
_WORDS: Final[Mapping[Answer, float]] = {"met": 1.0, "unsure": 0.5, "unmet": 0.0}
"""Scores of answers in words, of models that give no probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """The result for one kind of requirement, or for all."""

    cases: int
    met: int
    """Cases whose right answer is yes."""
    held_out: int
    """Cases that had no part in the fit and measure it."""
    before: Quality
    after: Quality
    thresholds: Thresholds | None
    """None where those for all kinds apply: there are too few cases, or their scores tell nothing."""
    note: str = ""
    """Why there are no thresholds; empty if there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """The result by group, `all` first."""

    groups: Mapping[str, GroupResult]
    in_words: int
    """Answers in words, without a probability."""
    model: str
    file_sha256: str


async def calibrate(
    file: Path, config: MeshConfig, method: Method = "platt", tell: Callable[[str], None] = lambda text: None
) -> CalibrationResult:
    """Return thresholds for the scores of the verifier's model, and how good they are on cases held out.

    Raises:
        UsageError: the file is not one of cases, has too few of them, or the extra `calibrate` is missing.
        BackendError: the model could not be asked.
    """
    if find_spec("sklearn") is None:
        raise UsageError("calibrate: expected scikit-learn, got none; pip install 'gems-actors[calibrate]'")
    cases = read_cases(file)
    if not can_fit([case.is_met for case in cases if not case.is_held_out]):
        met = sum(case.is_met for case in cases if not case.is_held_out)
        count = sum(not case.is_held_out for case in cases)
        raise UsageError(
            f"FILE: {file}: expected at least {MIN_CASES} cases that are not held out, with {MIN_OF_EACH} of each "
            f"answer, got {met} yes and {count - met} no"
        )
    await gather(*(partial(trio.to_thread.run_sync, _check_picture, case, file) for case in _first_of_each(cases)))
    async with open_chat_model(config, "verifier") as chat:
        asked = sum(case.score is None for case in cases)
        if asked:
            tell(f"asking {asked} questions")
        limiter = trio.CapacityLimiter(_AT_ONCE)
        answers = await gather(*(partial(_score, chat, case, limiter) for case in cases))
    settings = config.chat.of("verifier")
    return CalibrationResult(
        groups=group_results(cases, [score for score, _ in answers], method),
        in_words=sum(is_word for _, is_word in answers),
        model=settings.model or settings.backend,
        file_sha256=await trio.to_thread.run_sync(_digest_of, file),
    )


def _digest_of(file: Path) -> str:
    return sha256(read_regular(file)).hexdigest()


def _first_of_each(cases: Sequence[Case]) -> list[Case]:
    """Return the first case of each picture that the model is asked about."""
    found: dict[Path, Case] = {}
    for case in cases:
        if case.score is None:
            found.setdefault(case.picture, case)
    return list(found.values())


def _check_picture(case: Case, file: Path) -> None:
    """Decode a picture, so that no call is paid for before the file is known to be usable."""
    try:
        _visible(case)
    except (OSError, ValueError) as error:
        what = f"line {case.line}: expected a picture as `image`, got {case.image!r}: {reason_of(error)}"
        raise UsageError(f"FILE: {file}: {what}") from error


def _visible(case: Case) -> ImagePart:
    return visible_picture(case.picture.read_bytes(), "image/png")


async def _score(chat: ChatModel, case: Case, limiter: trio.CapacityLimiter) -> tuple[float, bool]:
    """Return the score of a case, and whether it stands for an answer in words."""
    if case.score is not None:
        return case.score, False
    async with limiter:
        picture = await trio.to_thread.run_sync(_visible, case)
        requirement = Requirement(id="r1", question=case.question, kind=case.kind or "other")
        found = await verify_picture(chat, picture, [requirement], VerifyConfig(mode="score"))
    verdict = found.verdicts[0]
    return (_WORDS[verdict.answer], True) if verdict.score is None else (verdict.score, False)


def group_results(cases: Sequence[Case], scores: Sequence[float], method: Method) -> dict[str, GroupResult]:
    """Return the result for all cases, and for each kind that has some."""
    pairs = list(zip(cases, scores, strict=True))
    common = _fit([pair for pair in pairs if not pair[0].is_held_out], method)
    fits: dict[RequirementKind | None, Calibration | None] = {None: common}
    results: dict[str, GroupResult] = {}
    for kind in get_args(RequirementKind):
        group = [(case, score) for case, score in pairs if case.kind == kind]
        train = [pair for pair in group if not pair[0].is_held_out]
        fits[kind] = common
        if not group:
            continue
        if not can_fit([case.is_met for case, _ in train]):
            results[kind] = _result(group, fits, None, f"fewer than {MIN_CASES} cases, or {MIN_OF_EACH} of each answer")
        elif (own := _fit(train, method)) is None:
            results[kind] = _result(group, fits, None, "its scores do not tell met from unmet")
        else:
            fits[kind] = own
            results[kind] = _result(group, fits, thresholds_of(own))
    if common is None:
        overall = _result(pairs, fits, None, "the scores do not tell met from unmet")
    else:
        overall = _result(pairs, fits, thresholds_of(common))
    return {ALL: overall, **results}


def _fit(pairs: Sequence[tuple[Case, float]], method: Method) -> Calibration | None:
    return fit([score for _, score in pairs], [case.is_met for case, _ in pairs], method)


def _result(
    pairs: Sequence[tuple[Case, float]],
    fits: Mapping[RequirementKind | None, Calibration | None],
    thresholds: Thresholds | None,
    note: str = "",
) -> GroupResult:
    held_out = [(case, score) for case, score in pairs if case.is_held_out]
    answers = [case.is_met for case, _ in held_out]
    after = [score if (own := fits[case.kind]) is None else own(score) for case, score in held_out]
    return GroupResult(
        cases=len(pairs),
        met=sum(case.is_met for case, _ in pairs),
        held_out=len(held_out),
        before=measure([score for _, score in held_out], answers),
        after=measure(after, answers),
        thresholds=thresholds,
        note=note,
    )


def fragment_lines(result: CalibrationResult, file: Path, out: Path, method: Method) -> Iterator[str]:
    """Yield the lines of a settings file with the thresholds, for `include` in a mesh file."""
    yield f"{_HEAD} {result.model}, by gems-actors {__version__}, method {method},"
    yield f"# from {file.name} ({result.groups[ALL].cases} answers, SHA-256 {result.file_sha256})."
    yield f'# In the mesh file: include = ["{out.name}"]'
    for name, group in result.groups.items():
        if group.thresholds is not None:
            yield ""
            yield "[verify]" if name == ALL else f"[verify.thresholds.{name}]"
            yield f"met_from = {group.thresholds.met_from:g}"
            yield f"unmet_below = {group.thresholds.unmet_below:g}"


def check_target(out: Path) -> None:
    """Refuse a file that is not one of thresholds, such as the mesh file, which would be lost.

    Raises:
        UsageError: it exists, and is something else.
    """
    try:
        with open_regular(out) as found:
            is_ours = found.read(len(_HEAD)) == _HEAD.encode()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"--out: {out}: expected a file to write, got: {os_reason(error)}") from error
    if not is_ours:
        raise UsageError(f"--out: {out}: expected a new file or one of thresholds, got another file; name a new one")


def write_fragment(result: CalibrationResult, file: Path, out: Path, method: Method) -> None:
    """Write the thresholds as a settings file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_whole(out, "".join(f"{line}\n" for line in fragment_lines(result, file, out, method)).encode())
    except OutputError as error:
        raise UsageError(f"--out: {error}") from error
