"""The commands of development: ``uv run nox -l`` lists them.

Every session runs in the workspace's own environment, which ``uv run`` makes and keeps up to date, so that
a session installs nothing twice.
"""

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests", "lint", "types", "wheels"]

if "UV_FIND_LINKS" not in os.environ and "PIP_FIND_LINKS" in os.environ:
    os.environ["UV_FIND_LINKS"] = os.environ["PIP_FIND_LINKS"]

PACKAGES = sorted(path.name for path in Path("packages").iterdir() if path.is_dir())


def uv(session: nox.Session, *command: str) -> None:
    session.run("uv", *command, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Every test, or those that the arguments name."""
    uv(session, "run", "pytest", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """Every test, with eight times the hypothesis examples."""
    session.env["HYPOTHESIS_PROFILE"] = "nightly"
    uv(session, "run", "pytest", *session.posargs)


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


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every package and look into the result."""
    uv(session, "build", "--all-packages", "--wheel", "--no-sources", "--out-dir", "dist", "--clear")
    uv(session, "run", "pytest", "tests/packaging", "-m", "slow", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Side by side with the peers; a script's name may follow: ``nox -s bench -- mlm``."""
    names = session.posargs[:1] or [path.stem for path in sorted(Path("benchmarks").glob("*.py"))]
    for name in names:
        uv(session, "run", "python", f"benchmarks/{name}.py", *session.posargs[1:])
