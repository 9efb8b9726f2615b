"""Rules about the tree itself: who imports whom, how long a file is, which versions siblings ask for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from support.profile import SLOW

PACKAGES = ["ultra-blocks", "ultra-core", "ultra-optim", "ultra-train"]


def project(path: Path) -> dict:
    return tomllib.loads((path / "pyproject.toml").read_text())["project"]


def requirements(path: Path) -> list[Requirement]:
    table = project(path)
    extras = [r for group in table.get("optional-dependencies", {}).values() for r in group]
    return [Requirement(text) for text in table["dependencies"] + extras]


def tracked(root: Path) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [root / line for line in listing.stdout.splitlines() if (root / line).exists()]


def test_the_four_packages_are_there(packages):
    assert [path.name for path in packages] == PACKAGES


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_complete(root, name):
    path = root / "packages" / name
    module = path / "src" / name.replace("-", "_")
    for needed in (path / "README.md", path / "CHANGELOG.md", path / "LICENSE", module / "py.typed"):
        assert needed.exists(), f"{needed.relative_to(root)} is missing"
    assert project(path)["version"] in (path / "CHANGELOG.md").read_text(), "the changelog lacks this version"
    assert project(path)["requires-python"] == ">=3.11"


def test_sibling_requirements_have_both_bounds_and_hold(packages):
    versions = {path.name: project(path)["version"] for path in packages}
    checked = 0
    for path in packages:
        for requirement in requirements(path):
            if requirement.name in versions:
                signs = {s.operator for s in requirement.specifier}
                assert signs >= {">=", "<"}, f"{path.name}: {requirement} lacks a bound"
                held = versions[requirement.name]
                assert held in requirement.specifier, f"{path.name}: {requirement}, but the tree has {held}"
                checked += 1
    assert checked >= 5


def test_nvml_comes_from_the_maintained_distribution(packages):
    names = {r.name.lower() for path in packages for r in requirements(path)}
    assert "nvidia-ml-py" in names
    assert "pynvml" not in names


def test_no_file_is_longer_than_400_lines(root, packages):
    """One concept a file, of about 250 lines; the tests too."""
    files = [f for p in packages for f in p.rglob("src/**/*.py")] + list((root / "tests").rglob("*.py"))
    lengths = {str(f.relative_to(root)): len(f.read_text().splitlines()) for f in files}
    assert len(lengths) > 500
    assert not {name: n for name, n in lengths.items() if n > 400}


@pytest.mark.parametrize("name", PACKAGES)
def test_tests_lie_where_the_sources_lie(root, name):
    """``tests/x/a/test_b.py`` tests ``ultra_x/a/b.py``, or a behaviour of the modules in ``ultra_x/a``.

    Behaviours of one kind may share a folder below it.
    """
    sources = root / "packages" / name / "src" / name.replace("-", "_")
    modules: dict[str, set[Path]] = {}
    for file in sources.rglob("*.py"):
        if file.name == "__init__.py":  # of a folder, whose test may lie beside it or in it
            modules.setdefault(file.parent.name, set()).update({file.parent, file.parent.parent})
        elif "reference" not in file.parts:
            modules.setdefault(file.stem, set()).add(file.parent)
    tests = root / "tests" / name.removeprefix("ultra-")
    found = sorted(tests.rglob("test_*.py"))
    assert found
    for test in found:
        folder = sources / test.parent.relative_to(tests)
        if folder.is_dir():
            expected = modules.get(test.stem.removeprefix("test_"), {folder})
            assert folder in expected, f"{test.relative_to(root)} is named after a module of another folder"
        else:
            assert folder.parent.is_dir(), f"{test.relative_to(root)} lies in no folder of the sources"


@pytest.mark.parametrize("name", SLOW)
def test_what_quick_leaves_out_is_there(root, name):
    assert (root / "tests" / name).exists()


def test_package_inits_have_no_logic(packages):
    for path in packages:
        for init in path.rglob("src/**/__init__.py"):
            assert len(init.read_text().splitlines()) < 40, f"{init} is long for an __init__.py"


def test_layers_hold(root):
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d* kept, 0 broken", done.stdout), done.stdout


GROUPS = {
    "ultra.blocks": ("mixers", "tests/blocks/mixers"),
    "ultra.norms": ("norms", "tests/blocks/norms"),
    "ultra.ffns": ("ffn", "tests/blocks/ffn"),
    "ultra.positions": ("positions", "tests/blocks/positions"),
    "ultra.optimizers": ("", "tests/optim"),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_name_is_a_file_and_a_test_file(root, group):
    folder, tests = GROUPS[group]
    owner = "ultra-optim" if group == "ultra.optimizers" else "ultra-blocks"
    points = project(root / "packages" / owner)["entry-points"][group]
    assert list(points) == sorted(points)
    for name, target in points.items():
        module = target.partition(":")[0]
        parts = [owner.replace("-", "_"), *([folder] if folder else []), name]
        assert module == ".".join(parts), f"{group} {name} stands in {module}"
        source = root / "packages" / owner / "src" / Path(*parts)
        assert source.with_suffix(".py").exists(), f"{name} has no source file"
        assert (root / tests / f"test_{name}.py").exists(), f"{name} has no test file {tests}/test_{name}.py"


def test_every_reference_is_compared_with_something(root, packages):
    """By a test that imports it, by the kit for a plugin that names it, or as a part of another reference."""
    code = [*(root / "tests").rglob("*.py"), *(f for path in packages for f in path.rglob("src/**/*.py"))]
    texts = {file: file.read_text() for file in code}
    for path in packages:
        for reference in path.rglob("src/*/reference/[a-z]*.py"):
            package = reference.parents[1].name
            used = re.compile(
                rf"{package}\.reference(\.{reference.stem}\b| import [^\n]*\b{reference.stem}\b)"
            )
            others = (text for file, text in texts.items() if file != reference)
            assert any(map(used.search, others)), f"nothing uses {reference.relative_to(root)}"


def test_the_tree_names_no_registry_and_no_lock_file(root):
    files = tracked(root)
    assert not [f for f in files if f.name == "uv.lock"]
    host = re.compile(r"https?://[^\s\"']*/simple\b|(index-url|find-links)\s*=\s*[\"']?(https?:|/)")
    for file in files:
        if file.suffix in {".py", ".toml", ".md", ".yaml", ".yml", ".cfg", ""} and file.is_file():
            text = file.read_text(errors="ignore")
            assert not host.search(text), f"{file.relative_to(root)} names a package registry"
