"""A stranger's package beside our wheels, in an environment that knows nothing of this tree."""

import itertools
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

PRESET = """\
model_class: frankenstein
model:
  vocab_size: 360
  hidden_size: 32
  num_layers: 2
  num_heads: 2
  ffn_hidden_size: 64
  use_moe: false
  use_hope: false
  layer_pattern: [standard_attn, average_attn]
  norm_type: scale_norm
tokenizer:
  train: {vocab_size: 360}
training:
  task: mlm
  dataset: words.txt
  batch_size: 2
  max_length: 32
  max_steps: 4
  gradient_accumulation_steps: 1
  optimizer:
    optimizer_class: signum
    parameters: {signum-lr: 1.0e-3, signum-momentum: 0.95}
"""


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


def link(source: str, target: str) -> None:
    """Make a hard link; between file systems, a copy of the same age, so that its bytecode stays valid."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture(scope="module")
def environment(root, tmp_path_factory):
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
    (folder / "preset.yaml").write_text(PRESET)
    syllables = ("ca", "sa", "lo", "me", "ti", "ra", "no", "pe", "lu", "do")
    words = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
    lines = (" ".join(words[(n * k) % 100] for k in (1, 3, 7, 9)) for n in range(400))
    (folder / "words.txt").write_text("\n".join(lines))
    return stranger


def test_its_names_are_listed_with_their_origin(environment):
    listing = environment.run("ultra-train", "list")
    for name in ("average_attn", "scale_norm", "signum"):
        line = next(line for line in listing.splitlines() if name in line.split())
        assert "ultra-example-plugin" in line
    assert "0 broken" in environment.run("ultra-train", "list", "--check")


def test_it_passes_the_kit_that_ours_pass(environment):
    environment.run(
        "uv", "pip", "install", "-q", "-c", "constraints.txt", "pytest", "hypothesis", "safetensors"
    )
    for name in ("average_attn", "signum"):
        environment.run("ultra-train", "plugin", "check", name)


def test_a_preset_uses_it_and_the_hook_runs(environment):
    printed = environment.run("ultra-train", "run", "preset.yaml", "--name", "stranger")
    run = environment.folder / "runs" / "stranger"
    assert (run / "diary.txt").read_text() == "run stranger is over\n", printed
    assert (run / "model" / "model.safetensors").exists()
    code = (
        "import ultra_blocks.hf; from transformers import AutoModelForMaskedLM as A; "
        "m = A.from_pretrained('runs/stranger/model'); "
        "print(sorted({type(l).__name__ for l in m.modules() if 'Average' in type(l).__name__}))"
    )
    assert "AverageAttention" in environment.run("python", "-c", code)


def test_switched_off_it_is_an_unknown_name_and_its_checkpoint_says_what_is_missing(environment):
    off = {"ULTRA_DISABLE_PLUGINS": "ultra-example-plugin"}
    message = environment.run("ultra-train", "validate", "preset.yaml", code=2, **off)
    assert "average_attn" in message
    assert "preset.yaml:" in message
    assert "Traceback" not in message
    loading = (
        "import ultra_blocks.hf; from transformers import AutoModel as A; "
        "A.from_pretrained('runs/stranger/model')"
    )
    message = environment.run("python", "-c", loading, code=1, **off)
    assert "ultra-example-plugin" in message
    assert "pip install" in message
