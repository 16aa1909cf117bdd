"""Fuzz: `python -m tests.fuzzing [TARGET] [--minutes M]`, and `python -m tests.fuzzing frames [--frames N]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from tests.fuzzing import TARGETS

HERE = Path(__file__).parent
PACKAGES = ["protocol", "skills", "gems_actors", "actors"]


def main() -> int:
    """Return the exit code: 0, or 1 after a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("target", nargs="?", choices=[*TARGETS, "frames"])
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target, and at most for frames")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target == "frames":
        from tests.fuzzing.frames import fuzz_servers

        print(fuzz_servers(options.frames, options.seed, options.minutes * 60))
        return 0
    if options.in_this_process:
        fuzz(options.target, options.minutes)
    names = TARGETS if options.target is None else (options.target,)
    codes = [start(name, options.minutes) for name in names]  # atheris ends its process
    for name, code in zip(names, codes, strict=True):
        print(f"{name}: {f'see {HERE}/cases/{name}' if code else 'nothing found'}")
    return int(any(codes))


def start(name: str, minutes: float) -> int:
    """Fuzz one target in a process, and return its exit code."""
    command = [sys.executable, "-m", "tests.fuzzing", name, "--minutes", f"{minutes}", "--in-this-process"]
    return subprocess.run(command, check=False).returncode


def fuzz(name: str, minutes: float) -> None:
    """Fuzz one target by coverage until something is found or the time is over; never returns."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        target = import_module(f"tests.fuzzing.{name}")
    corpus, cases = HERE.parents[1] / ".fuzz" / name, HERE / "cases" / name
    for folder in (corpus, cases):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [
        f"-max_total_time={int(minutes * 60)}",
        f"-artifact_prefix={cases}/",
        "-timeout=10",
        "-rss_limit_mb=2048",
    ]
    atheris.Setup([sys.argv[0], str(corpus), "-max_len=65536", *arguments], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
