"""Run benchmarks one after another: all of them, or those named: `python -m tests.benchmarks mesh loop`.

With `--compare REV` or `--against PATH` each runs here and in another commit or checkout by turns. The figures are also
written to a file in `.bench`, with the machine, the date and the commit.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.against import compare, read_figures
from tests.benchmarks.figures import ROOT, as_json, save


class _Tee(io.StringIO):
    """What is printed, shown and kept."""

    def write(self, text: str) -> int:
        sys.__stdout__.write(text)  # type: ignore[union-attr]  # a benchmark has an output
        sys.__stdout__.flush()  # type: ignore[union-attr]
        return super().write(text)


@contextmanager
def _checkout(revision: str) -> Iterator[Path]:
    """Check a commit out into a folder of its own, until the end of the block."""
    git = ("git", "-C", str(ROOT), "worktree")
    with tempfile.TemporaryDirectory(prefix="gems-bench-") as folder:
        other = Path(folder) / "checkout"
        subprocess.run((*git, "add", "--quiet", "--detach", str(other), revision), check=True)
        try:
            yield other
        finally:
            subprocess.run((*git, "remove", "--force", str(other)), check=True)


def run(names: Sequence[str]) -> dict[str, object]:
    """Run benchmarks, and return what they measured: figures with a baseline, or the numbers of their lines."""
    results: dict[str, object] = {}
    for name in names:
        print(f"== {name}", flush=True)
        printed = _Tee()
        with contextlib.redirect_stdout(printed):
            figures = importlib.import_module(f"tests.benchmarks.bench_{name}").main()
        lines = {f"{text} [{place + 1}]": value for (text, place), value in read_figures(printed.getvalue()).items()}
        results[name] = lines if figures is None else as_json(figures)
    return results


def main() -> None:
    """Run what the command line names."""
    found = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(found))
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--compare", metavar="REV", help="another commit to compare with")
    other.add_argument("--against", type=Path, metavar="PATH", help="another checkout to compare with")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each benchmark in each checkout (default 3)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(found):
        parser.error(f"expected benchmarks of {', '.join(found)}, got {', '.join(sorted(unknown))}")
    names = arguments.names or found
    if arguments.compare is not None:
        with _checkout(arguments.compare) as path:
            results = {"compared with": arguments.compare, **compare(names, path, arguments.repeats)}
    elif arguments.against is not None:
        results = {
            "compared with": str(arguments.against),
            **compare(names, arguments.against.resolve(), arguments.repeats),
        }
    else:
        results = run(names)
    print(f"written to {save(results)}", file=sys.stderr)  # no line of a benchmark, which `compare` would compare


if __name__ == "__main__":
    main()
