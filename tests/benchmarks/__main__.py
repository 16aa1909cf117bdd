"""Run benchmarks one after another: all of them, or those named: `python -m tests.benchmarks mesh loop`.

With `--against PATH` each runs here and in another checkout by turns: `... mesh loop bulk --against ../before`.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from tests.benchmarks.against import compare


def main() -> None:
    """Run what the command line names."""
    found = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(found))
    parser.add_argument("--against", type=Path, metavar="PATH", help="another checkout to compare with")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each benchmark in each checkout (default 3)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(found):
        parser.error(f"expected benchmarks of {', '.join(found)}, got {', '.join(sorted(unknown))}")
    if arguments.against is not None:
        compare(arguments.names or found, arguments.against.resolve(), arguments.repeats)
        return
    for name in arguments.names or found:
        print(f"== {name}", flush=True)
        importlib.import_module(f"tests.benchmarks.bench_{name}").main()


if __name__ == "__main__":
    main()
