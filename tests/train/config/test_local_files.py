"""What a preset names and is not on this machine."""

import pytest

from ultra_core.config import ConfigError, parse_source
from ultra_train.config import from_source
from ultra_train.config.local_files import sources_of, unreadable_pairs


@pytest.fixture
def minimal(minimal):
    return minimal.replace("  dataset: ultra:es-commands\n", "")


@pytest.fixture
def faults(minimal, base, tmp_path, monkeypatch):
    """Return (key, place, message) of what a preset names in vain: ``faults(lines of training)``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("hola")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "nothing").mkdir()

    def found(*lines, text=None):
        written = (minimal if text is None else text) + "".join(f"  {line}\n" for line in lines)
        try:
            from_source(parse_source(written), "preset", check_files=True)
        except ConfigError as error:
            return [(f.path, f.line - written.count("\n"), f.column, f.message) for f in error.faults]
        return []

    return found


def test_a_mistyped_folder_never_ends_in_a_run_on_the_embedded_set(faults):
    ((path, line, column, message),) = faults("local_parquet_dir: folde")
    assert (path, line, column) == (("training", "local_parquet_dir"), 0, 22)
    assert message.startswith("there is no folder folde, and ultra:es-commands would be trained on instead")
    assert "Did you mean 'folder'" in message
    assert faults("local_parquet_dir: folder") == []


@pytest.mark.parametrize("dataset", ["ultra:es-commands", "texts.txt", "[texts.txt, ultra:sv-commands]"])
def test_no_other_data_of_this_machine_stands_in_for_it(faults, dataset):
    (fault,) = faults(f"dataset: {dataset}", "local_parquet_dir: /no/where")
    assert "would be trained on instead" in fault[3]


def test_it_may_be_absent_when_it_is_not_preferred_or_a_data_set_of_the_hub_is_named(faults):
    assert faults("local_parquet_dir: /no/where", "prefer_local_cache: false") == []
    assert faults("local_parquet_dir: /no/where", "dataset: owner/texts") == []


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("texts.txt", "is a file, but a folder is needed"),
        ("nothing", "the folder holds no file whose name ends in"),
    ],
)
def test_it_is_a_folder_with_texts(faults, folder, message):
    (fault,) = faults(f"local_parquet_dir: {folder}")
    assert message in fault[3]


def test_a_dataset_is_not_looked_for_when_the_folder_is_read(faults):
    assert faults("dataset: nowhere.txt", "local_parquet_dir: folder") == []


@pytest.mark.parametrize(
    ("lines", "places"),
    [
        (["dataset: text.txt"], [("dataset",)]),
        (["dataset: [texts.txt, ./nowhere, a/b/c]"], [("dataset", 1), ("dataset", 2)]),
        (["dataset: {source: nowhere.jsonl}"], [("dataset", "source")]),
        (["dataset: ['*.parquet', {source: ~/no/where}]"], [("dataset", 0), ("dataset", 1, "source")]),
        (["dataset: nothing"], [("dataset",)]),
        (["dataset: [owner/name, imdb, ultra:es-commands, folder, 'tex*']"], []),
    ],
)
def test_every_source_that_is_not_there_is_a_fault_at_its_place(faults, lines, places):
    assert [path[1:] for path, *_ in faults(*lines)] == places


def test_texts_of_a_tokenizer(faults, minimal):
    text = "tokenizer:\n  train: {vocab_size: 512, data: [texts.txt, text.txt]}\n" + minimal
    ((path, _, _, message),) = faults(text=text)
    assert path == ("tokenizer", "train", "data", 1)
    assert "Did you mean 'texts.txt'" in message


@pytest.mark.parametrize("name", ["./folde", "/no/where", "~/no/where", "runs/a/model"])
def test_models_and_tokenizers_that_can_only_be_here(faults, base, name):
    text = base.replace("some/encoder", name)
    assert [path for path, *_ in faults(text=text)] == [("base_model",), ("tokenizer", "name_or_path")]
    assert faults(text=base) == []


def test_all_faults_are_told_at_once(faults):
    paths = [path[-1] for path, *_ in faults("dataset: nowhere.txt", "mlm_probability: 7", "batch: 3")]
    assert sorted(paths) == ["batch", "dataset", "mlm_probability"]


def test_the_preset_as_such_is_valid_on_every_machine(faults, minimal):
    text = minimal + "  local_parquet_dir: /no/where\n"
    notices = from_source(parse_source(text), "preset").notices
    assert [line.partition(":")[0] for line in notices] == ["not usable on this machine"]


def test_names_of_the_hub_are_told(faults, minimal):
    text = minimal + "  dataset: [owner/a, texts.txt, imdb]\n  local_parquet_dir: /no/where\n"
    preset = from_source(parse_source(text), "preset", check_files=True)
    assert preset.notices[0].startswith("training.dataset: owner/a, imdb: no file or folder here")
    assert preset.notices[1].endswith("there is no folder /no/where here; owner/a is read instead")
    assert [source.source for source in sources_of(preset.training)] == ["owner/a", "texts.txt", "imdb"]
    near = from_source(parse_source(minimal + "  dataset: folde\n"), "preset", check_files=True)
    assert "Did you mean 'folder'" in near.notices[0]


def test_many_sources_are_looked_for_quickly(faults, minimal):
    names = [f"nowhere/{number}.txt" for number in range(3000)]
    found = faults(f"dataset: [{', '.join(names)}]")
    assert found[0][0] == ("training", "dataset", 0)
    hub = from_source(
        parse_source(f"{minimal}  dataset: [{', '.join(f'a/{n}' for n in range(3000))}]\n"), "p"
    )
    (line,) = hub.notices
    assert "a/4 and 2,995 more" in line


def test_rows_of_several_texts_have_other_formats(tmp_path):
    for name in ("rows.json", "rows.tsv.gz", "texts.txt"):
        (tmp_path / name).write_text("[]")
    local = [str(tmp_path / name) for name in ("rows.json", "rows.tsv.gz")]
    for name in (*local, "ultra:es-commands", "owner/set"):
        assert list(unreadable_pairs(("key",), name)) == []
    ((path, message),) = unreadable_pairs(("key",), str(tmp_path / "texts.txt"))
    assert path == ("key",)
    assert "has no known format" in message
    ((_, message),) = unreadable_pairs(("key",), "ultra:es-comands")
    assert "Did you mean 'ultra:es-commands'" in message
