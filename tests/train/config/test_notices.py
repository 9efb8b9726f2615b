"""Keys that are set and do nothing in this run are named once."""


def test_a_plain_preset_has_no_notice(load, minimal, base):
    assert load(minimal).notices == ()
    assert load(base).notices == ()


def test_switching_off_what_is_not_there_is_no_notice(load, minimal):
    assert load(minimal, "training.switch_on_thermal=false", "training.hub_model_id=").notices == ()


def test_seed_keys_without_effect_in_this_pattern(load, minimal):
    preset = load(
        minimal,
        "training.optimizer.parameters.adamw-lr_mamba=1e-3",
        "model.ode_steps=3",
        "model.retention_heads=2",
        "model.embedding_conv_kernel=5",
        "training.galore_rank=8",
        "training.hub_model_id=me/x",
        "training.sbert={dataset_name: x/y}",
    )
    (line,) = [notice for notice in preset.notices if notice.startswith("no effect in this run: ")]
    for key in (
        "training.sbert",
        "training.galore_rank",
        "training.hub_model_id",
        "training.optimizer.parameters.adamw-lr_mamba",
        "model.ode_steps",
        "model.retention_heads",
        "model.embedding_conv_kernel",
    ):
        assert key in line.removeprefix("no effect in this run: ").split(", ")


def test_a_strategy_needs_several_processes(load, minimal, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert load(minimal, "training.distributed=ddp").notices == (
        "no effect in this run: training.distributed",
    )
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert load(minimal, "training.distributed=ddp").notices == ()


def test_flat_rates_of_absent_roles(load, minimal):
    preset = load(minimal, "training.optimizer=", "training.lr_other=1e-3", "training.lr_ode=1e-7")
    assert preset.notices == ("no effect in this run: training.lr_ode",)


def test_the_same_keys_act_where_a_block_reads_them(load, minimal):
    overrides = ["model.retention_heads=2", "training.optimizer.parameters.adamw-lr_retnet=1e-3"]
    assert load(minimal, "model.layer_pattern=[standard_attn, retnet]", *overrides).notices == ()


def test_one_learning_rate_is_said(load, minimal, monkeypatch):
    import attrs

    from ultra_optim.adamw import AdamW

    traits = getattr(AdamW, "traits", None)
    monkeypatch.setattr(AdamW, "traits", attrs.evolve(traits, one_lr=True))
    (line,) = load(minimal, "training.optimizer.parameters.adamw-lr_norms=0.5").notices
    assert "multipliers" in line


def test_data_that_is_not_here(load, minimal, tmp_path):
    (tmp_path / "there.txt").write_text("hola")
    sources = f"training.dataset=[{tmp_path}/there.txt, {tmp_path}/ther.txt, some/name-of-the-hub]"
    line, hub = load(minimal, sources).notices
    assert line.startswith(f"not usable on this machine: {tmp_path}/ther.txt: there is no such file")
    assert "Did you mean 'there.txt'" in line
    assert hub.startswith("training.dataset: some/name-of-the-hub: no file or folder here")


def test_a_folder_that_is_not_preferred_has_no_effect(load, minimal):
    (line,) = load(minimal, "training.local_parquet_dir=/x", "training.prefer_local_cache=false").notices
    assert line == "no effect in this run: training.local_parquet_dir"
