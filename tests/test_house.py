"""What is shipped is what is meant to be, and nothing else lies about."""

import ast
import io
import re
import subprocess
import sys
import sysconfig
import token
import tokenize
import venv
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import actors
import gems_actors
import protocol
import skills
from tests.gems_actors.cli.commands import environment

ROOT = Path(__file__).parent.parent
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PACKAGES = {"actors", "gems_actors", "protocol", "skills"}


def test_no_other_distribution_owns_our_packages() -> None:
    owners = packages_distributions()
    assert {owner for package in PACKAGES for owner in owners.get(package, [])} <= {"gems-actors"}


def test_the_packages_that_are_imported_are_ours() -> None:
    for package in actors, gems_actors, protocol, skills:
        assert package.__file__ == str(ROOT / package.__name__ / "__init__.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", f"--wheel-dir={folder}", str(ROOT)]
    subprocess.run([*PIP, *build], check=True)
    (built,) = folder.iterdir()
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_four_packages_and_no_tests(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in shipped} == {
        *PACKAGES,
        f"gems_actors-{gems_actors.__version__}.dist-info",
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped
    source = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert {name for name in shipped if name.endswith(".py")} == source
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "skills").rglob("SKILL.md")} <= shipped
    assert {"protocol/README.md", "gems_actors/app/style.css", "gems_actors/gateway/static/index.html"} <= shipped


@pytest.mark.slow
def test_a_wheel_installed_outside_the_checkout_draws(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    install = [f"--python={python}", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*PIP, *install], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))  # after our own packages, so these win

    (tmp_path / "elsewhere").mkdir()
    clean = {key: value for key, value in environment(tmp_path).items() if key != "PYTHONPATH"}
    where = "import gems_actors, actors; print(gems_actors.__file__, actors.__file__)"
    run = partial(subprocess.run, cwd=tmp_path / "elsewhere", env=clean, capture_output=True, text=True, timeout=120)
    assert run([python, "-c", where]).stdout.count(str(packages)) == 2
    drawn = run([python.with_name("gems"), "draw", "two red cats", "--rounds", "1", "-o", "cats.png"])
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "elsewhere" / "cats.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_top_level_holds_only_what_belongs_there() -> None:
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files"]
    listed = subprocess.run(git, check=True, capture_output=True, text=True).stdout.splitlines()
    top = {name.partition("/")[0] for name in listed if not name.startswith(".")}
    assert top <= {
        *PACKAGES, "deploy", "tests",
        "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile",
    }  # fmt: skip


UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
UNSAFE_CALLS = {"recv_pyobj", "send_pyobj", "unsafe_load", "full_load", "eval", "exec"}


@pytest.mark.slow
def test_nothing_that_is_read_can_become_code() -> None:
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Import(names=names):
                        used = {alias.name.partition(".")[0] for alias in names} & UNSAFE_MODULES
                    case ast.ImportFrom(module=str(module)):
                        used = {module.partition(".")[0]} & UNSAFE_MODULES
                    case ast.Call(func=ast.Name(id=name)):
                        used = {name} & UNSAFE_CALLS
                    case ast.Call(func=ast.Attribute(attr=name)):
                        used = {name} & (UNSAFE_CALLS - {"eval"})  # a torch model is put into evaluation mode so
                    case _:
                        continue
                found += [f"{path.relative_to(ROOT)}: {name}" for name in used]
    assert not found


OLD_WORDING = re.compile(r", came\b|\bthat is none\b|\bso many at most\b|\banew\b|\bshall\b|\bwhoever\b", re.IGNORECASE)
"""Wording that STYLE replaces: `got`, "not a valid ...", "up to N", "again", "must", and a subject with a name."""
SPOKEN = {token.COMMENT, token.STRING, getattr(token, "FSTRING_MIDDLE", token.STRING)}
PROMPTS_AND_DATA = ("skills/*/SKILL.md", "tests/fixtures/**", "tests/test_house.py", "LICENSE")
CHANGELOG_ENTRY = "\n## "
MAX_FUNCTION_LINES, MAX_MODULE_LINES, MAX_MODULES = 59, 500, 20


def text_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the text that a person reads, with its line: comments and strings of Python, and all of Markdown."""
    content = path.read_text()
    if path.suffix == ".py":
        for found in tokenize.generate_tokens(io.StringIO(content).readline):
            if found.type in SPOKEN:
                yield found.start[0], " ".join(found.string.split())
    elif path.name == "CHANGELOG.md":  # what was released is left as it was written
        _, entries = content.split(CHANGELOG_ENTRY, 1)
        yield 1, " ".join(entries.split(CHANGELOG_ENTRY, 1)[0].split())
    else:
        yield 1, " ".join(content.split())


@pytest.mark.slow
def test_nothing_is_written_in_the_old_wording() -> None:
    folders = (ROOT / name for name in (*sorted(PACKAGES), "deploy", "tests"))
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md")]
    left = {path for pattern in PROMPTS_AND_DATA for path in ROOT.glob(pattern)}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path in [*ROOT.glob("*.md"), *files]
        if path not in left
        for line, text in text_of(path)
        for match in OLD_WORDING.finditer(text)
    ]
    assert not found, "\n".join(found)


def modules() -> Iterator[Path]:
    for package in sorted(PACKAGES):
        yield from (ROOT / package).rglob("*.py")


@pytest.mark.slow
def test_functions_modules_and_folders_stay_small() -> None:
    found = []
    for path in modules():
        source, name = path.read_text(), path.relative_to(ROOT)
        if len(source.splitlines()) > MAX_MODULE_LINES:
            found.append(f"{name}: {len(source.splitlines())} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    found.append(f"{name}:{node.lineno}: {node.name} of {lines} lines")
    for folder, count in Counter(path.parent for path in modules() if path.name != "__init__.py").items():
        if count > MAX_MODULES:
            found.append(f"{folder.relative_to(ROOT)}: {count} modules")
    assert not found, "\n".join(found)


def test_files_of_tests_stay_small() -> None:
    files = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py")}
    assert {file: lines for file, lines in files.items() if lines > MAX_MODULE_LINES} == {}


def test_the_table_of_mended_inputs_names_tests_that_exist() -> None:
    text = (ROOT / "tests/README.md").read_text()
    rows = re.findall(r"^\| (D\d+) \|(.+)$", text, re.MULTILINE)
    named = [(row, *name) for row, cells in rows for name in re.findall(r"`([\w/]+\.py)::(\w+)`", cells)]
    assert {row for row, _ in rows} == {f"D{number}" for number in range(1, 39)} == {row for row, *_ in named}
    lost = [name for _, path, name in named if f"def {name}(" not in (ROOT / "tests" / path).read_text()]
    assert not lost
