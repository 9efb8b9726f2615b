from ultra_core.errors import ConfigError, Fault, UltraError, did_you_mean, key_of, listed


def test_a_fault_says_where_and_what():
    fault = Fault("a.yaml", 3, 7, ("model", "layer_pattern", 0, "retnet"), "expected a text")
    assert str(fault) == "a.yaml:3:7: model.layer_pattern[0].retnet: expected a text"
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
