"""Strategies at equal mean images, judged by a verifier that errs: what they truly meet.

    python -m tests.benchmarks.equal_images geneval2_data.jsonl DIR

draws every prompt of the file with each strategy into folders of DIR, which the same command continues, and prints a
table for each mean. The loop without a budget cannot draw 1.5 images on average: a share of the prompts, chosen by a
hash, gets one round more than the others, so that it draws as many images as those that it is compared with, or a few
more. With votes, which imagine fewer faults than one look does, some of its trajectories end earlier.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Final

from gems_actors.app.evaluation.compare import Comparison, compare
from gems_actors.app.evaluation.runs import TRULY_ALL_MET, TRULY_MET, read_run_folder
from gems_actors.app.evaluation.tables import estimate_text
from tests.processes import environment

CUTS: Final = {1.5: (1, 0.71), 2.0: (2, 0.68), 2.8: (4, 0.66)}
"""For each mean: the rounds of the loop without a budget, and the share of prompts with one round more."""
CUTS_WITH_VOTES: Final = {**CUTS, 2.8: (8, 0.0)}
"""The same with votes, with which eight rounds take fewer images than the largest mean."""
ERRORS: Final = "storyboard.verifier_error={miss=0.3,false_alarm=0.05}"
FIGURES: Final = ("images each", "calls each", TRULY_ALL_MET.name, TRULY_MET.name)


def share(prompt: str, purpose: str) -> float:
    """Return a number in [0, 1) that depends on the prompt and the purpose only."""
    return int.from_bytes(blake2b(f"{purpose} {prompt}".encode(), digest_size=8).digest()) / 2**64


def write_inputs(prompts: list[str], folder: Path) -> None:
    """Write the prompts as tasks, each with its own seed: as they are, and with the rounds of each cut."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [{"prompt": prompt, "seed": int(share(prompt, "seed") * 2**32)} for prompt in prompts]
    files: dict[str, list[dict[str, object]]] = {"all": list(tasks)}
    for kind, cuts in (("cut", CUTS), ("cut-votes", CUTS_WITH_VOTES)):
        for mean, (rounds, longer) in cuts.items():
            files[f"{kind}-{mean:g}"] = [
                {**task, "rounds": rounds + (share(str(task["prompt"]), "mix") < longer)} for task in tasks
            ]
    for name, records in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def draw(folder: Path, name: str, tasks: str, *options: str) -> Path:
    """Draw tasks into a folder, and return it."""
    command = (sys.executable, "-P", "-m", "gems_actors.cli", "bulk", str(folder / f"{tasks}.jsonl"))
    settings = ("--set", "verify.mode=batch", "--set", ERRORS)
    subprocess.run((*command, "--out", str(folder / name), *options, *settings), check=True, env=environment())
    return folder / name


def draw_all(folder: Path, mean: float) -> dict[str, Path]:
    """Draw with each strategy, and return the folders; that of the loop without a budget is the first."""
    budget = ("--rounds", "8", "--mean-images", f"{mean:g}")
    votes = ("--set", "verify.votes=3", "--set", "verify.vote_on=all")
    count = "2" if mean <= 2 else "3"
    return {
        "`gems`": draw(folder, f"cut-{mean:g}", f"cut-{mean:g}"),
        f"best of {count}": draw(folder, f"best-of-{count}", "all", "--strategy", "best-of-n", "--images", count),
        "`gems`, three votes on all": draw(folder, f"cut-votes-{mean:g}", f"cut-votes-{mean:g}", *votes),
        "`--mean-images`": draw(folder, f"mean-{mean:g}", "all", *budget),
        "`--mean-images`, three votes on all": draw(folder, f"votes-{mean:g}", "all", *budget, *votes),
    }


def table_of(folders: dict[str, Path]) -> list[str]:
    """Return the rows of a table: figures of each strategy, and how much more it truly meets than the first two."""
    runs = {name: read_run_folder(folder, with_truth=True) for name, folder in folders.items()}
    by_strategy = {run.strategy: name for name, run in runs.items()}
    found: dict[str, list[str]] = {name: [name] for name in runs}
    compared: list[Comparison] = [compare([*runs.values()])]
    _, rival, *_ = runs.values()
    compared.append(compare([rival, *(run for run in runs.values() if run is not rival)]))
    for strategy, row in compared[0].rows.items():
        figures = [row.figures[figure] for figure in FIGURES]
        found[by_strategy[strategy]] += [f"{item.mean:.2f}" for item in figures[:2]]
        found[by_strategy[strategy]] += [f"{item.mean:.1f}" for item in figures[2:]]
    for comparison in compared:
        for strategy, row in comparison.rows.items():
            less = row.differences.get(TRULY_MET.name)
            found[by_strategy[strategy]].append("" if less is None else estimate_text(less, "+"))
    return ["| " + " | ".join(cells) + " |" for cells in found.values()]


def main() -> None:
    """Draw, compare and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.equal_images")
    parser.add_argument("prompts", type=Path, help="objects with a prompt each, one a line")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to fill")
    arguments = parser.parse_args()
    prompts = [json.loads(line)["prompt"] for line in arguments.prompts.read_text().splitlines()]
    write_inputs(prompts, arguments.folder)
    for mean in CUTS:
        folders = draw_all(arguments.folder, mean)
        print(f"\n{mean:g} images on average\n")
        print("| strategy | images | calls | truly all met % | truly met % | less `gems` | less best of n |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        print("\n".join(table_of(folders)), flush=True)


if __name__ == "__main__":
    main()
