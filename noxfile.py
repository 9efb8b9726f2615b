"""The commands of development: ``uv run nox -l`` lists them.

Every session runs in the workspace's own environment, which ``uv run`` makes and keeps up to date, so that
a session installs nothing twice.
"""

import os
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests", "lint", "types", "wheels"]

if "UV_FIND_LINKS" not in os.environ and "PIP_FIND_LINKS" in os.environ:
    os.environ["UV_FIND_LINKS"] = os.environ["PIP_FIND_LINKS"]


def uv(session: nox.Session, *command: str) -> None:
    session.run("uv", *command, external=True)


def run_tests(session: nox.Session, *options: str) -> None:
    """Run pytest in one process a core; ``-n 0`` among the session's arguments runs it in this one."""
    uv(session, "run", "pytest", "-q", "-n", "auto", "--dist", "worksteal", *options, *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Every test, or those that the arguments name."""
    run_tests(session)


@nox.session
def quick(session: nox.Session) -> None:
    """The tests of the inner loop: few hypothesis examples, and nothing that is marked as slow.

    It ends with the tests that took more than a second: those to mark, or to make faster.
    """
    session.env["HYPOTHESIS_PROFILE"] = "quick"
    run_tests(session, "-m", "not slow", "--durations=10", "--durations-min=1")


@nox.session
def nightly(session: nox.Session) -> None:
    """Every test, with many hypothesis examples and damaged files."""
    session.env["HYPOTHESIS_PROFILE"] = "nightly"
    run_tests(session)


@nox.session
def mutations(session: nox.Session) -> None:
    """Make random source lines wrong, one at a time, and list those that no test notices."""
    uv(session, "run", "python", "tests/mutations", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and who may import whom."""
    uv(session, "run", "ruff", "check", ".")
    uv(session, "run", "ruff", "format", "--check", ".")
    uv(session, "run", "lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """The type checker over the four packages."""
    uv(session, "run", "mypy")


SMOKE = {
    "ultra-core": "import ultra_core; assert not ultra_core.blocks.names()",
    "ultra-blocks": (
        "import torch; from ultra_blocks.mixers.retnet import RetNet; "
        "assert RetNet(32, num_heads=2)(torch.randn(2, 5, 32)).shape == (2, 5, 32)"
    ),
    "ultra-optim": (
        "import torch; from ultra_optim.lion import Lion; m = torch.nn.Linear(3, 1); "
        "m(torch.ones(3)).sum().backward(); Lion(m.parameters(), lr=0.1).step()"
    ),
    "ultra-train": "from ultra_train.cli import main; main(['list', '--check'])",
}
"""What each package does when nothing but its declared dependencies is installed."""


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every package; install each with its declared dependencies alone, and use it."""
    uv(session, "build", "--all-packages", "--wheel", "--no-sources", "--out-dir", "dist", "--clear")
    pins = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    session.env["UV_COMPILE_BYTECODE"] = "0"  # each environment below imports a part of it, once
    folder = Path(session.create_tmp())
    (folder / "constraints.txt").write_text("\n".join(pins))
    # uv caches what it found through --find-links by name and version alone: without this, a sibling of
    # the same version that an earlier run built would be installed instead of the one just built
    fresh = [f"--refresh-package={sibling}" for sibling in SMOKE]
    for package, code in SMOKE.items():
        environment = folder / package
        python = environment / "bin" / "python"
        uv(session, "venv", "-q", "--clear", str(environment))
        (wheel,) = Path("dist").glob(f"{package.replace('-', '_')}-*.whl")
        uv(
            session, "pip", "install", "-q", "--python", str(python), "--find-links", "dist", *fresh,
            "-c", str(folder / "constraints.txt"), str(wheel),
        )  # fmt: skip
        uv(session, "pip", "check", "--python", str(python))
        session.run(str(python), "-c", code, external=True, env={"PYTHONWARNINGS": "ignore"})


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with the peers; a script's name may follow: ``nox -s bench -- mlm``."""
    scripts = sorted(
        p.stem for p in Path("benchmarks").glob("*.py") if "def main() -> None:" in p.read_text("utf-8")
    )
    names = session.posargs[:1] or scripts
    for name in names:
        uv(session, "run", "python", f"benchmarks/{name}.py", *session.posargs[1:])
