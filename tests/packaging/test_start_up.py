"""What everybody pays each time: importing the core and asking the command line for help or a list."""

import resource
import subprocess
import sys

import pytest

COMMANDS = {
    "import ultra_core": "import ultra_core",
    "ultra-train --help": "import ultra_train.cli as c; c.main(['--help'])",
    "ultra-train list": "import ultra_train.cli as c; c.main(['list'])",
}
HEAVY = ("torch", "transformers", "datasets", "numpy", "sentence_transformers")

PROBE = """
import sys
try:
    {body}
except SystemExit as stop:
    assert not stop.code, stop.code
loaded = [name for name in {heavy} if name in sys.modules]
assert not loaded, f"imported {{loaded}}"
"""


def run(body: str) -> float:
    """Run the probe in a fresh interpreter; return the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = PROBE.format(body=body, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_heavy_is_imported_and_it_takes_under_half_a_second(name):
    # Processor time of the best of five, so that a busy machine does not decide.
    assert min(run(COMMANDS[name]) for _ in range(5)) < 0.5


FAULTY = {
    "a mistyped key": "training: {batch_sise: 3}",
    "a key of another tool": "training: {learning_rate: 3}",
    "too many sources": "base_model: a/b\ntraining: {optimizer: {optimizer_class: lion}, dataset: "
    f"[{', '.join(['x'] * 10_001)}]}}",
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_a_faulty_preset_has_wrong_is_said_without_torch(name, tmp_path):
    path = tmp_path / "preset.yaml"
    path.write_text(FAULTY[name])
    body = f"""import ultra_train.config as c
    from ultra_core.errors import ConfigError
    try:
        c.load_any({str(path)!r})
    except ConfigError as error:
        print(error)
    else:
        raise AssertionError("it loads")"""
    code = PROBE.format(body=body, heavy=("torch", "transformers"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{path}:" in done.stdout
