"""The workspace, and an environment with wheels of its packages."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


class Environment:
    """A virtual environment with wheels in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Nothing of the outer environment may be importable inside.
        self.variables = {
            k: v
            for k, v in os.environ.items()
            if k not in {"PYTHONPATH", "VIRTUAL_ENV", "ULTRA_DISABLE_PLUGINS"}
        }
        self.server: subprocess.Popen[str] | None = None
        self.variables |= {"HF_HUB_OFFLINE": "1", "VIRTUAL_ENV": str(folder / "env")}

    def run(self, *command: object, code: int = 0, **variables: str) -> str:
        program, *rest = map(str, command)
        inside = self.folder / "env" / "bin" / program
        done = subprocess.run(
            [str(inside if inside.exists() else program), *rest],
            cwd=self.folder, env=self.variables | variables, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ultra_train(
        self, *arguments: object, code: int = 0, folder: Path | None = None, **variables: str
    ) -> str:
        """Run a command of ultra-train in a fork of one process, which has imported torch."""
        return self._fork({"arguments": list(map(str, arguments))}, code, folder, variables)

    def python(self, text: str, *, code: int = 0, **variables: str) -> str:
        """Run Python code in such a fork."""
        return self._fork({"code": text}, code, None, variables)

    def _fork(self, what: dict, code: int, folder: Path | None, variables: dict[str, str]) -> str:
        if self.server is None:
            self.server = subprocess.Popen(
                [self.folder / "env" / "bin" / "python", Path(__file__).with_name("command_server.py")],
                cwd=self.folder, env=self.variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        output = self.folder / "output.txt"
        request = {
            **what,
            "folder": str(folder or self.folder),
            "variables": variables,
            "output": str(output),
        }
        print(json.dumps(request), file=self.server.stdin, flush=True)
        found, printed = int(self.server.stdout.readline()), output.read_text()
        assert found == code, printed
        return printed

    def close(self) -> None:
        """End the process whose forks run commands."""
        if self.server is not None:
            self.server.communicate()


def link(source: str, target: str) -> None:
    """Make a hard link; between file systems, a copy of the same age, so that its bytecode stays valid."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def root() -> Path:
    """The workspace root."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def packages(root: Path) -> list[Path]:
    """The folders of the four packages."""
    return sorted(path for path in (root / "packages").iterdir() if (path / "pyproject.toml").exists())


@pytest.fixture(scope="session")
def wheels(root, tmp_path_factory):
    """An environment of our wheels and what they declare to need, and nothing else.

    Other people's packages are not unpacked anew: their bytecode would take minutes to compile.
    """
    uv = shutil.which("uv")
    assert uv, "uv comes with the development dependencies"
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run(
        [uv, "build", "--all-packages", "--wheel", "--no-sources", "-q", "--out-dir", folder / "dist"],
        cwd=root, check=True,
    )  # fmt: skip
    frozen = subprocess.run(
        [uv, "pip", "freeze"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    pinned = [line for line in frozen.splitlines() if "==" in line and not line.startswith("ultra-")]
    (folder / "constraints.txt").write_text("\n".join(pinned))
    wheels = sorted(map(str, (folder / "dist").glob("*.whl")))
    assert len(wheels) == 5
    (folder / "wheels.txt").write_text("\n".join(wheels))
    stranger = Environment(folder)
    stranger.run(uv, "venv", "-q", folder / "env")
    inside, ours = stranger.run("python", "-c", SITE).strip(), sysconfig.get_path("purelib")
    shutil.copytree(ours, inside, copy_function=link, symlinks=True, dirs_exist_ok=True)
    stranger.run(
        uv, "pip", "compile", "-q", "-c", "constraints.txt", "wheels.txt", "-o", "needed.txt", "--no-annotate"
    )
    stranger.run(uv, "pip", "sync", "-q", "needed.txt")
    stranger.run(uv, "pip", "check")
    assert "heavyball" not in stranger.run(uv, "pip", "list"), "what nothing declares is still there"
    yield stranger
    stranger.close()
