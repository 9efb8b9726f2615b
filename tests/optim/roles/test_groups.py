"""Roles, kinds and groups of whole models."""

from typing import Any

import pytest
import torch
from torch import nn

from ultra_core.contracts import ParamInfo
from ultra_core.errors import PluginError, UltraError
from ultra_core.plugins import hooks
from ultra_optim import describe, param_groups
from ultra_optim.roles import groups as module_under_test


def vectors(infos: dict[str, ParamInfo]) -> dict[str, ParamInfo]:
    return {name: info for name, info in infos.items() if name.endswith(("bias", "beta"))}


def test_every_family_of_transformers(pretrained: nn.Module) -> None:
    infos = describe(pretrained)
    parameters = dict(pretrained.named_parameters())
    assert infos.keys() == parameters.keys()
    table = pretrained.get_input_embeddings().weight
    (name,) = (n for n, p in parameters.items() if p is table)
    assert infos[name] == ParamInfo(role="embeddings", kind="embedding")
    assert not any(info.decay for info in vectors(infos).values())
    for name, info in infos.items():
        owner = pretrained.get_submodule(name.rpartition(".")[0])
        if type(owner).__name__.endswith("LayerNorm"):  # DeBERTa has one of its own
            assert (info.role, info.kind) == ("norms", "vector")
        elif isinstance(owner, nn.Embedding):
            assert (info.role, info.kind) == ("embeddings", "embedding")
        elif name.endswith("weight") and parameters[name] is not table:
            inside = ".attention." in name or ".attn." in name
            assert (info.role, info.kind) == ("attention" if inside else "other", "matrix")
    assert sum(i.role == "attention" and i.kind == "matrix" for i in infos.values()) >= 4


def test_groups_cover_every_family_once(pretrained: nn.Module) -> None:
    groups = param_groups(pretrained, lr=1.0, weight_decay=0.5)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in pretrained.parameters()}
    assert {"embeddings", "norms", "attention", "other"} == {group["role"] for group in groups}
    for group in groups:
        decays = group["decay"] and group["role"] != "norms"
        assert group["weight_decay"] == (0.5 if decays else 0.0)


def test_fused_projections_of_modernbert_are_split() -> None:
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    infos = describe(ModernBertModel(config))
    assert infos["layers.0.attn.Wqkv.weight"].row_blocks == (8, 8, 8)
    assert infos["layers.0.mlp.Wi.weight"].row_blocks == (12, 12)


def test_fused_projections_of_deberta_are_split_by_head() -> None:
    from transformers import DebertaConfig, DebertaModel

    config = DebertaConfig(
        vocab_size=20, hidden_size=12, intermediate_size=16, num_hidden_layers=1, num_attention_heads=3,
        relative_attention=True, pos_att_type=["c2p", "p2c"], max_relative_positions=4,
    )  # fmt: skip
    infos = describe(DebertaModel(config))
    assert infos["encoder.layer.0.attention.self.in_proj.weight"] == ParamInfo(
        role="attention", kind="matrix", row_blocks=(4,) * 9
    )
    assert infos["encoder.layer.0.attention.self.pos_proj.weight"].row_blocks == ()


def test_an_untied_head_is_a_head() -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        tie_word_embeddings=False,
    )  # fmt: skip
    infos = describe(BertForMaskedLM(config))
    assert infos["cls.predictions.decoder.weight"] == ParamInfo(role="other", kind="head")
    assert infos["cls.predictions.transform.dense.weight"].kind == "matrix"


class Mixer(nn.Module):
    """A block that describes its own parameter and a descendant's."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(4))
        self.qkv = nn.Linear(4, 12)

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {
            "alpha": ParamInfo(role="retnet", kind="gate", decay=False),
            "qkv.weight": ParamInfo(role="retnet", row_blocks=(4, 4, 4)),
        }


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = Mixer()
        self.norm = nn.LayerNorm(4)

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {
            "mixer.alpha": ParamInfo(role="outer"),
            "mixer.qkv.bias": ParamInfo(role="outer", kind="vector", decay=False),
        }


def test_the_innermost_description_wins_over_outer_ones_and_types() -> None:
    infos = describe(nn.Sequential(Layer()))
    assert infos["0.mixer.alpha"] == ParamInfo(role="retnet", kind="gate", decay=False)
    assert infos["0.mixer.qkv.weight"] == ParamInfo(role="retnet", row_blocks=(4, 4, 4))
    assert infos["0.mixer.qkv.bias"].role == "outer"
    assert infos["0.norm.weight"].role == "norms"


@pytest.mark.parametrize("head_first", [False, True])
def test_tied_weights_count_once_as_embedding(head_first: bool) -> None:
    embedding, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
    head.weight = embedding.weight
    model = nn.Sequential(*((head, embedding) if head_first else (embedding, head)))
    assert describe(model) == {"0.weight": ParamInfo(role="embeddings", kind="embedding")}
    assert [len(group["params"]) for group in param_groups(model)] == [1]


def test_shared_layers_count_once() -> None:
    layer = nn.Linear(4, 4)
    assert describe(nn.Sequential(layer, layer, nn.Sequential(layer))).keys() == {"0.weight", "0.bias"}


def test_losses_may_own_parameters() -> None:
    class Loss(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model
            self.temperature = nn.Parameter(torch.zeros(()))

    model = nn.Linear(3, 4)
    infos = describe([model, Loss(model)])
    assert list(infos) == ["weight", "bias", "1.temperature"]
    groups = param_groups([model, Loss(model)], lr=1.0)
    names = [name for group in groups for name in group["param_names"]]
    assert sorted(names) == ["1.temperature", "bias", "weight"]


def test_degenerate_matrices_are_vectors() -> None:
    assert describe(nn.Linear(5, 1))["weight"] == ParamInfo(role="other", kind="vector")
    assert describe(nn.Linear(1, 5))["weight"] == ParamInfo(role="other", kind="vector")


class Experts(nn.Module):
    def __init__(self, info: ParamInfo, *shape: int) -> None:
        super().__init__()
        self.stack = nn.Parameter(torch.ones(shape))
        self.info = info

    def parameter_info(self) -> dict[str, ParamInfo]:
        return {"stack": self.info}


def test_stacked_experts() -> None:
    assert describe(Experts(ParamInfo(kind="expert"), 3, 4, 5))["stack"].expert_dim == 0
    (group,) = param_groups(Experts(ParamInfo(kind="expert", row_blocks=(2, 2), expert_dim=1), 4, 3, 5))
    assert group["row_blocks"] == [[2, 2]]
    assert group["expert_dim"] == [1]
    assert describe(Experts(ParamInfo(kind="expert", expert_dim=0), 3, 1, 5))["stack"].kind == "vector"


def test_descriptions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PluginError, match=r"row blocks \(2, 3\).*add up"):
        describe(Experts(ParamInfo(row_blocks=(2, 3)), 6, 4))

    class Confused(nn.Linear):
        def parameter_info(self) -> dict[str, ParamInfo]:
            return {"wieght": ParamInfo()}

    with pytest.raises(PluginError, match=r"Confused.*'wieght'.*Did you mean 'weight'"):
        describe(Confused(2, 2))


def test_lazy_parameters_are_refused() -> None:
    with pytest.raises(UltraError, match="forward pass"):
        describe(nn.LazyLinear(3))


class Plugin:
    @hooks.hookimpl
    def ultra_parameter_info(self, model: nn.Module) -> dict[str, ParamInfo]:
        return {name: ParamInfo(role="mamba", kind="gate", decay=False) for name in self.wanted}

    @hooks.hookimpl
    def ultra_parameter_roles(self, model: nn.Module) -> dict[str, str]:
        return dict(self.roles)

    wanted: tuple[str, ...] = ("mixer.alpha",)
    roles: dict[str, str] = {"norm.weight": "ode"}  # noqa: RUF012


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Plugin:
    made = Plugin()
    manager = hooks.build_manager([("test", made)])
    monkeypatch.setattr(module_under_test, "plugin_manager", lambda: manager)
    return made


def test_hooks_have_the_last_word(plugin: Plugin) -> None:
    infos = describe(Layer())
    assert infos["mixer.alpha"] == ParamInfo(role="mamba", kind="gate", decay=False)
    assert infos["norm.weight"] == ParamInfo(role="ode", kind="vector", decay=True)
    assert infos["norm.bias"].role == "norms"


@pytest.mark.parametrize("attribute", ["wanted", "roles"])
def test_hooks_that_name_nothing_are_refused(plugin: Plugin, attribute: str) -> None:
    setattr(plugin, attribute, {"mixer.alhpa": "ode"})
    with pytest.raises(PluginError, match=r"'mixer.alhpa'.*Did you mean 'mixer.alpha'"):
        describe(Layer())


def by_role(groups: list[dict[str, Any]], role: str, decay: bool = True) -> dict[str, Any]:
    (group,) = (g for g in groups if g["role"] == role and g["decay"] is decay)
    return group


def test_options_of_roles() -> None:
    roles = {"norms": {"lr": 3.0, "weight_decay": 0.25, "betas": (0.5, 0.5)}, "mamba": {"lr": 9.0}}
    groups = param_groups(Layer(), lr=1.0, weight_decay=0.5, roles=roles, eps=1e-6)
    norm = by_role(groups, "norms")
    assert (norm["lr"], norm["weight_decay"], norm["betas"], norm["eps"]) == (3.0, 0.25, (0.5, 0.5), 1e-6)
    assert by_role(groups, "norms", decay=False)["weight_decay"] == 0.0
    assert by_role(groups, "norms", decay=False)["lr"] == 3.0
    assert by_role(groups, "retnet", decay=False)["weight_decay"] == 0.0
    qkv = by_role(groups, "retnet")
    assert (qkv["lr"], qkv["weight_decay"], qkv["row_blocks"], qkv["expert_dim"]) == (
        1.0,
        0.5,
        [[4, 4, 4]],
        [None],
    )


def test_what_is_not_given_is_left_to_the_optimizer() -> None:
    groups = param_groups(nn.Linear(3, 4))
    assert "lr" not in groups[0]
    assert "weight_decay" not in groups[0]


def test_unknown_roles_are_refused() -> None:
    with pytest.raises(UltraError, match=r"'norm'.*Did you mean 'norms'"):
        param_groups(Layer(), roles={"norm": {"lr": 1.0}})


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(3, 4)
    model.weight.requires_grad = False
    assert [group["param_names"] for group in param_groups(model)] == [["bias"]]
    model.bias.requires_grad = False
    with pytest.raises(UltraError, match="no trainable parameter"):
        param_groups(model)


def test_parameters_instead_of_a_model_are_refused() -> None:
    with pytest.raises(UltraError, match="pass the model itself"):
        param_groups(nn.Linear(3, 4).parameters())  # type: ignore[arg-type]
