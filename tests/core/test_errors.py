from ultra_core.errors import ConfigError, Fault, UltraError, did_you_mean, key_of, listed


def test_a_fault_says_where_and_what():
    fault = Fault("a.yaml", 3, 7, ("model", "layer_pattern", 0, "retnet"), "expected a string")
    assert str(fault) == "a.yaml:3:7: model.layer_pattern[0].retnet: expected a string"
    assert fault.key == "model.layer_pattern[0].retnet"
    assert str(Fault("a.yaml", 1, 1, (), "is empty")) == "a.yaml:1:1: is empty"
    assert str(Fault("--set a.b", 1, 1, ("a", "b"), "wrong")) == "--set a.b: a.b: wrong"


def test_faults_come_in_the_order_of_the_file_each_once_overrides_last():
    override = Fault("--set a", 1, 1, ("a",), "x")
    late, early = Fault("f", 9, 1, ("b",), "x"), Fault("f", 2, 5, ("c",), "x")
    error = ConfigError([override, late, early, late])
    assert error.faults == (early, late, override)
    assert str(error).count("\n") == 2
    assert isinstance(error, UltraError)


def test_words():
    assert key_of((0, "a", 1, 2)) == "[0].a[1][2]"
    assert did_you_mean("retnets", ["retnet", "mamba"]) == " Did you mean 'retnet'?"
    assert did_you_mean("zzz", ["retnet"]) == ""
    assert listed([]) == "none"
    assert listed(["a", "b"]) == "a, b"


def test_at_most_fifty_faults_are_listed_and_the_rest_is_counted():
    faults = [Fault("f", line, 1, ("k",), f"wrong {line}") for line in range(1, 1500)]
    lines = str(ConfigError(faults)).splitlines()
    assert lines[0] == "f:1:1: k: wrong 1"
    assert lines[49:] == ["f:50:1: k: wrong 50", "and 1,449 more"]
    assert len(ConfigError(faults).faults) == 1499
    assert "more" not in str(ConfigError(faults[:50]))


def test_a_fault_that_quotes_something_enormous_is_cut():
    (line,) = str(ConfigError([Fault("f", 1, 1, (), f"no block {'x' * 10_000} here")])).splitlines()
    assert line == f"f:1:1: no block {'x' * 200}...{'x' * 50} here"
