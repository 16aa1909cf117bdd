"""Mutation tests of the pure modules: `python -m tests.mutation`, which `make mutate` runs, and CI does not.

mutmut changes one expression at a time (configured in pyproject.toml) and runs the tests that reach it. A change that
no test notices must stand in equivalent_mutants.toml with the reason why it changes nothing; any other is an error.
Arguments are passed on to `mutmut run`, such as `'gems_actors.router.queues*'`.
"""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
MUTANTS = ROOT / "mutants"
SURVIVED, NO_TEST = 0, 33
"""Exit codes that mutmut keeps: the tests passed with the mutant; no test reaches it."""
_FUNCTION = re.compile(r"(?ms)^( *)(?:async )?def (\w+__mutmut_\w+)\(.*?(?=^\1\S|\Z)")


def survivors(meta: Path) -> Iterator[str]:
    """Yield each surviving mutant of a module as `Class.function: the lines that the mutant has instead`."""
    source = meta.with_suffix("").read_text()
    functions = {
        found[2]: found[0].replace(found[2], _name_of(found[2])).splitlines() for found in _FUNCTION.finditer(source)
    }
    for key, code in json.loads(meta.read_text())["exit_code_by_key"].items():
        if code not in (SURVIVED, NO_TEST):
            continue
        mutant = key.rpartition(".")[2]
        original = f"{mutant.rpartition('__mutmut_')[0]}__mutmut_orig"
        changed = difflib.ndiff(functions[original], functions[mutant])
        added = " ".join(line[2:].strip() for line in changed if line.startswith("+ "))
        yield f"{_name_of(mutant)}: {added}"


def _name_of(mutant: str) -> str:
    """Return `Class.method` or `function`, which mutmut calls `xǁClassǁmethod__mutmut_1` or `x_function__mutmut_1`."""
    name = mutant.rpartition("__mutmut_")[0]
    return name[2:].replace("ǁ", ".")


def main() -> int:
    """Run mutmut, print the survivors that are not explained, and return the exit code."""
    explained = {
        mutant
        for group in tomllib.loads((ROOT / "tests/equivalent_mutants.toml").read_text())["equivalent"]
        for mutant in group["mutants"]
    }
    subprocess.run([str(Path(sys.executable).with_name("mutmut")), "run", *sys.argv[1:]], cwd=ROOT, check=False)
    found = {mutant for meta in MUTANTS.rglob("*.py.meta") for mutant in survivors(meta)}
    unexplained = sorted(found - explained)
    print("\n".join(unexplained))  # noqa: T201
    print(f"{len(found)} survivors, {len(unexplained)} of them not explained")  # noqa: T201
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
