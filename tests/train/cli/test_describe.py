"""describe: options, defaults, ranges, where values come from, the paper."""

import pytest


def test_a_block(ultra):
    output = ultra("describe", "retnet").output
    assert output.startswith("block retnet (ultra-blocks 0.1.0, ultra_blocks.mixers.retnet:RetNet)\n")
    assert "num_heads: a whole number >= 1 or null [the model's retention_heads]" in output
    assert "2307.08621" in output
    assert "Differs from the paper:" in output
    assert "hidden_size:" not in output


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("blocks:retnet", "block retnet"),
        ("block:retnet", "block retnet"),
        ("ultra-blocks:retnet", "block retnet"),
        ("lamb", "optimizer lamb"),
        ("cosine", "schedule cosine"),
        ("mlm", "task mlm"),
        ("preset:tinybert", "preset tinybert"),
        ("nope", "no options"),
    ],
)
def test_every_kind(ultra, name, found):
    result = ultra("describe", name)
    assert result.exit_code == 0, result.output
    assert found in result.output


def test_a_name_of_two_kinds_shows_both(ultra):
    output = ultra("describe", "mini").output
    assert "model class mini" in output
    assert "preset mini" in output
    assert "p40_safe" in output


def test_an_unknown_name_is_suggested(ultra):
    result = ultra("describe", "retnat")
    assert result.exit_code == 2
    assert "Did you mean 'retnet'" in result.stderr


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gla_attn", ["block gla (", "other names:\n    gla_attn"]),
        ("glu", ["swiglu, with activation: silu"]),
        ("apollo_8bit", ["q_apollo (its states are quantised, not the weights)"]),
        ("adafactor", ["eps2: eps, number 2 of its list", "with either sign", "beta1 (only null): there is"]),
        ("apollo_mini", ["accepted without effect:\n    rank (only 1): the rank of apollo_mini is 1"]),
        ("cautious_adamw", ["accepted without effect:\n    cautious_clip: the method clips nothing"]),
    ],
)
def test_other_names(ultra, name, found):
    output = ultra("describe", name).output
    for text in found:
        assert text in output
