"""The names that ``ultra_blocks`` exports, without importing torch before they are used."""

import subprocess
import sys

import pytest

import ultra_blocks
from ultra_blocks import public
from ultra_core import blocks, ffns, norms, positions

REGISTERED = {
    registry.get(entry.name)
    for registry in (blocks, norms, ffns, positions)
    for entry in registry.entries()
    if entry.distribution == "ultra-blocks"
}
OTHERS = {
    "ContiguousMixer", "Encoder", "FeedForward", "Layout", "Mixer", "ModelConfigError", "Norm",
    "PositionCode", "Traits", "UltraConfig", "after_step", "build",
}  # fmt: skip


def test_every_registered_class_is_public() -> None:
    assert {cls.__name__ for cls in REGISTERED} | OTHERS == set(public.__all__)
    assert all(getattr(ultra_blocks, cls.__name__) is cls for cls in REGISTERED)


def test_completion_lists_the_public_names() -> None:
    found = dir(ultra_blocks)
    assert {*public.__all__, "__name__", "layout"} <= {*found}
    assert not {"Any", "FUNCTIONS", "TYPE_CHECKING", "annotations", "import_module"} & {*found}


def test_functions_are_found_too() -> None:
    assert ultra_blocks.build is public.build
    assert ultra_blocks.after_step is public.after_step


@pytest.mark.parametrize("name", ["Retnet", "Path", "building"])
def test_other_names_do_not_exist(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'ultra_blocks' has no attribute '{name}'"):
        getattr(ultra_blocks, name)


def test_torch_is_imported_with_the_first_class_only() -> None:
    code = (
        "import sys, ultra_blocks; from ultra_blocks.config import UltraConfig\n"
        "assert 'torch' not in sys.modules\n"
        "from ultra_blocks import RetNet\n"
        "assert 'torch' in sys.modules and 'transformers' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
