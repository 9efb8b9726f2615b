def test_the_table_and_the_exit_code(ultra, finished_run, tiny_preset):
    result = ultra(
        "doctor", str(finished_run), "--data", str(tiny_preset.parent / "texts.txt"), "--texts", "20"
    )
    assert result.exit_code in (0, 1), result.output
    assert (result.exit_code == 1) == any(line.strip().startswith("!") for line in result.output.splitlines())
    for part in (
        "masked-lm, UltraModel",
        "SPLADE can start from it",
        "effective of 16 dimensions",
        "20 texts of",
    ):
        assert part in result.output


def test_no_model_and_no_texts(ultra, tmp_path, finished_run):
    for arguments, message in (
        (["./nothing"], "there is no folder"),
        ([str(finished_run), "--data", "./no.txt"], "no.txt"),
    ):
        result = ultra("doctor", *arguments)
        assert result.exit_code == 2
        assert message in result.output
