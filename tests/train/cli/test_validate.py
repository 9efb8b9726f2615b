"""``ultra-train validate`` says what ``run`` would refuse, each with its place, all at once."""

import pytest

SIZES = "vocab_size: 512, hidden_size: 64, num_layers: 4, num_heads: 4, retention_heads: 4, use_moe: false"
TRAINING = "{optimizer: {optimizer_class: adamw, parameters: {adamw-lr: 1e-3}}}"
HEAD = "model_class: frankenstein\n"

COMBINATIONS = {
    "nsa_attn: {compress_block: 7}": "compress_stride=16 must divide compress_block=7",
    "titan_attn: {variant: mac, window: 3}": "window=3 has no meaning for the variant mac",
    "latent_attn: {rope_dim: 3}": "even width to form pairs; given head_dim=3",
    "hgrn2: {conv_size: 4}": "conv_size 4 has no middle",
    "gla: {key_expansion: 0.01}": "key_expansion 0.01",
}


@pytest.fixture
def write(tmp_path):
    """Write a preset whose ``model`` holds these lines; return its path."""

    def written(*lines: str, head: str = HEAD, training: str = TRAINING) -> str:
        path = tmp_path / "p.yaml"
        body = "".join(f"  {line}\n" for line in lines)
        path.write_text(f"{head}model:\n{body}training: {training}\n")
        return str(path)

    return written


def sizes() -> list[str]:
    return SIZES.split(", ")


@pytest.mark.parametrize("command", ["validate", "show", "run"])
@pytest.mark.parametrize("option", COMBINATIONS)
def test_options_that_do_not_go_together(ultra, write, command, option):
    path = write(*sizes(), "layer_pattern:", "  - retnet", f"  - {option}")
    result = ultra(command, path)
    assert result.exit_code == 2
    block, _, _ = option.partition(":")
    column = len(f"    - {block}: ") + 1
    (line,) = [line for line in result.stderr.splitlines() if path in line]
    assert f"{path}:11:{column}: model.layer_pattern[1].{block}: " in line
    assert COMBINATIONS[option] in line


def test_all_of_them_at_once(ultra, write):
    path = write(
        *sizes(), "layer_pattern:", *(f"  - {option}" for option in COMBINATIONS), "norm_type: leyer"
    )
    result = ultra("validate", path)
    assert result.exit_code == 2
    for row, (option, message) in enumerate(COMBINATIONS.items(), start=10):
        assert any(
            f"{path}:{row}:" in line and f"model.layer_pattern[{row - 10}].{option.partition(':')[0]}" in line
            and message in line
            for line in result.stderr.splitlines()
        )  # fmt: skip
    assert f"{path}:15:14: model.norm_type: unknown norm 'leyer'" in result.stderr


def test_an_override(ultra, preset):
    result = ultra("validate", preset, "--set", "model.layer_pattern=[{hgrn2: {conv_size: 4}}]")
    assert result.exit_code == 2
    assert "--set model.layer_pattern" in result.stderr
    assert "conv_size 4 has no middle" in result.stderr


def test_sizes_that_come_from_the_model_class(ultra, write):
    path = write("layer_pattern: [{gla: {key_expansion: 0.01}}]", head="model_class: mini\n")
    result = ultra("validate", path)
    assert result.exit_code == 2
    place = f"{path}:3:25: model.layer_pattern[0].gla: "
    assert f"{place}GLA: key_expansion 0.01 of hidden_size 128" in result.stderr


@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_mistyped_folder_is_an_error_at_its_place(ultra, write, command, tmp_path):
    data = TRAINING.replace("{optimizer", f"{{local_parquet_dir: {tmp_path}/nowhere, optimizer", 1)
    result = ultra(command, path := write(*sizes(), training=data))
    assert result.exit_code == 2
    place = f"{path}:{3 + len(sizes())}:31: training.local_parquet_dir"
    assert f"{place}: there is no folder {tmp_path}/nowhere" in result.stderr
    assert ultra("show", path).exit_code == 0
