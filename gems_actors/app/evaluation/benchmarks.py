"""The benchmarks that can be drawn: where their prompts are, how they are read, and what their scorers expect."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from gems_actors.app.evaluation import layouts, prompt_files
from gems_actors.app.evaluation.layouts import Layout, Pictures
from gems_actors.app.evaluation.prompt_files import BenchmarkError, Prompt, single_file
from gems_actors.files import os_reason, read_regular


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that can be drawn."""

    title: str
    samples: int
    """Number of pictures per prompt that its scorer expects."""
    read: Callable[[Sequence[Path]], list[Prompt]]
    """Reads its prompt files."""
    lay_out: Callable[[Path, Sequence[Prompt], Pictures], Layout]
    """Returns the layout that its scorer expects in a folder."""
    find: Callable[[Path], list[Path]] = single_file
    """Finds its prompt files, which may lie in a folder."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a benchmark, and the digest of the files that they were read from."""

    prompts: list[Prompt]
    sha256: str
    """SHA-256 of the file; of several files, that of the lines `sha256sum` prints for them without their folder."""


def read_benchmark(name: str, path: Path) -> PromptSet:
    """Return the prompts of a benchmark's file, or of the folder of its files.

    Raises:
        BenchmarkError: a file cannot be read, or is not that of the benchmark.
    """
    benchmark = BENCHMARKS[name]
    try:
        files = benchmark.find(path)
        prompts = benchmark.read(files)
        sums = [(hashlib.sha256(read_regular(file)).hexdigest(), file.name) for file in files]
    except OSError as error:
        raise BenchmarkError(f"{path}: expected a readable file, got: {os_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path}: expected UTF-8, got byte {error.object[error.start]:#04x}") from error
    if not prompts:
        raise BenchmarkError(f"{path}: expected prompts of {benchmark.title}, got none")
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) != len(ids):
        duplicate = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise BenchmarkError(f"{path}: expected each prompt once, got {duplicate!r} twice")
    listed = "".join(f"{digest}  {file}\n" for digest, file in sums)
    return PromptSet(prompts, sums[0][0] if len(sums) == 1 else hashlib.sha256(listed.encode()).hexdigest())


_read_creative = partial(prompt_files.read_numbered, ())
BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    # github.com/djghosh13/geneval, prompts/evaluation_metadata.jsonl
    "geneval": Benchmark(
        "GenEval", 4, partial(prompt_files.read_numbered, ("tag", "include")), layouts.lay_out_geneval
    ),
    # github.com/facebookresearch/GenEval2, geneval2_data.jsonl
    "geneval2": Benchmark(
        "GenEval2", 1,
        partial(prompt_files.read_numbered, ("atom_count", "vqa_list", "skills")), layouts.lay_out_geneval2,
    ),
    # github.com/TencentQQGYLab/ELLA, dpg_bench/dpg_bench.csv or the folder dpg_bench/prompts
    "dpg": Benchmark("DPG-Bench", 4, prompt_files.read_dpg, layouts.lay_out_dpg, prompt_files.dpg_files),
    # github.com/OneIG-Bench/OneIG-Benchmark, OneIG-Bench.csv or OneIG-Bench-ZH.csv
    "oneig": Benchmark("OneIG-Bench", 4, prompt_files.read_oneig, layouts.lay_out_oneig),
    # github.com/PKU-YuanGroup/WISE, the folder data_verified, or data of the legacy edition
    "wise": Benchmark("WISE", 1, prompt_files.read_wise, layouts.lay_out_flat, prompt_files.wise_files),
    # github.com/X-Omni-Team/X-Omni, textbench/text_prompts.jsonl or text_prompts_zh.jsonl
    "longtext": Benchmark("LongText-Bench", 4, prompt_files.read_longtext, layouts.lay_out_longtext),
    # github.com/AMAP-ML/SpatialGenEval, eval/SpatialGenEval_T2I_Prompts.jsonl
    "spatialgeneval": Benchmark("SpatialGenEval", 1, prompt_files.read_spatial, layouts.lay_out_flat),
    # github.com/lcqysl/GEMS, eval/CREA/data.jsonl
    "crea": Benchmark("CREA", 25, _read_creative, layouts.lay_out_crea),
    # github.com/lcqysl/GEMS, eval/ArtiMuse/evaluation_metadata.jsonl
    "artimuse": Benchmark("ArtiMuse", 1, _read_creative, layouts.lay_out_flat),
}  # fmt: skip
"""Benchmarks by their names on the command line, below the origin of prompts and scorer."""
