"""``ultra-train estimate`` as a user calls it."""

import json

import pytest
from click.testing import CliRunner

from ultra_core.errors import UltraError
from ultra_train.cli.app import cli
from ultra_train.cli.estimate import parse_size


def estimate(*arguments):
    return CliRunner().invoke(cli, ["estimate", *arguments])


def test_the_lines(preset):
    result = estimate(preset, "--gpu", "P40", "--processes", "2", "--corpus", "1GB")
    assert result.exit_code == 0, result.output
    for part in (
        "NVIDIA Tesla P40, 2 processes (ddp)",
        "block standard_attn",
        "optimizer state",
        "fits into",
    ):
        assert part in result.output
    assert "250 Mtokens" in result.output
    assert "500 MB" in result.output  # tokens of two bytes


def test_json_has_every_number_and_the_parts_add_up(preset):
    tree = json.loads(estimate(preset, "--gpu", "h100", "--json", "--set", "training.use_amp=true").output)
    assert tree["precision"] == "bf16"
    memory = tree["memory"]
    resident = memory["weights"] + memory["gradients"] + memory["state"]
    assert memory["peak"] == resident + max(memory["working"], memory["scratch"]) == tree["peak"]
    assert 4 * sum(tree["parameters"].values()) <= memory["weights"] < 4.1 * sum(tree["parameters"].values())
    assert tree["hours"] == pytest.approx(tree["seconds"] * tree["updates"] / 3600)


def test_fit_memory_prints_each_step_and_the_settings(preset):
    sizes = ("--set", "training.batch_size=4", "--set", "training.max_length=512")
    needed = [
        json.loads(estimate(preset, *sizes, "--gpu", "p40", "--json").output)["needed"],
        json.loads(estimate(preset, "--gpu", "p40", "--json", "--set", "training.batch_size=2").output)[
            "needed"
        ],
    ]
    result = estimate(preset, *sizes, "--gpu", "p40", "--fit-memory", f"{sum(needed) // 2}B")
    assert result.exit_code == 0, result.output
    assert "batch_size 4 x 4 accumulated, max_length 512" in result.output
    assert "--set training.batch_size=2 --set training.gradient_accumulation_steps=8" in result.output


def test_what_fits_nowhere_ends_with_advice_and_a_finding(preset):
    result = estimate(preset, "--gpu", "p40", "--fit-memory", "100MB")
    assert result.exit_code == 1
    assert "nothing fits: allow shorter rows (--allow-shorten)" in result.output
    assert "lowest_vram" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "p4"], "the device 'p4' is not known; choose one of cpu, p40, rtx3090"),
        (["--gpu", "p40", "--measure"], "--measure measures the CPU"),
        (["--allow-shorten"], "--allow-shorten does nothing without --fit-memory"),
        (["--gpu", "p40", "--fit-memory", "much"], "--fit-memory 'much' is no size"),
        (["--gpu", "p40", "--processes", "3", "--hosts", "2"], "cannot be divided among 2 hosts"),
    ],
)
def test_bad_input(preset, arguments, message):
    result = estimate(preset, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_sizes():
    assert parse_size("24GB", "x") == 24_000_000_000
    assert parse_size("22.5 GiB", "x") == int(22.5 * 2**30)
    assert parse_size("512", "x") == 512
    with pytest.raises(UltraError):
        parse_size("0GB", "x")
