import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.sources.data_source import DataSource, read_sources
from ultra_train.data.sources.texts import TextReader, identity


def test_a_spec_may_be_a_name_a_mapping_or_a_list():
    mixed = read_sources(["a.txt", {"source": "b.csv", "column": "body", "weight": 2}, DataSource("c.txt")])
    assert mixed == [DataSource("a.txt"), DataSource("b.csv", column="body", weight=2), DataSource("c.txt")]
    assert read_sources("a.txt") == [DataSource("a.txt")]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], "list of data sources is empty"),
        (" ", "source is empty"),
        ({"source": "a.txt", "colunm": "x"}, "unknown key 'colunm'.*Did you mean 'column'"),
        ({"column": "x"}, "needs the key 'source'"),
        ({"source": "a.txt", "weight": 0}, "weight is 0"),
    ],
)
def test_a_faulty_spec_says_what_is_wrong(spec, message):
    with pytest.raises(DataError, match=message):
        read_sources(spec)


def test_files_folders_and_globs(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("dos\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("uno\n\n", encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "notes.md").write_text("no", encoding="utf-8")
    (tmp_path / "sub" / "c.jsonl").write_text('{"text": "tres"}\n', encoding="utf-8")
    assert list(TextReader().texts(str(tmp_path / "a.txt"))) == ["uno"]
    assert list(TextReader().texts(str(tmp_path))) == ["uno", "dos", "tres"]
    assert list(TextReader().texts(str(tmp_path / "*.txt"))) == ["uno", "dos"]
    assert list(TextReader().texts([str(tmp_path / "b.txt"), str(tmp_path / "a.txt")])) == ["dos", "uno"]


def test_missing_empty_and_unknown_files_are_named(tmp_path):
    (tmp_path / "corpus.txt").touch()
    (tmp_path / "blank.txt").write_text(" \n\n", encoding="utf-8")
    (tmp_path / "notes.md").write_text("hola", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    for name, message in [
        ("corpsu.txt", "no such file or folder.*Did you mean 'corpus.txt'"),
        ("corpus.txt", "is an empty file"),
        ("blank.txt", "no usable text"),
        ("notes.md", "no known format"),
        ("folder", "holds no file"),
        ("*.parquet", "the pattern holds no file"),
    ]:
        with pytest.raises(DataError, match=message):
            list(TextReader().texts(str(tmp_path / name)))


def test_an_unknown_embedded_set_lists_those_there_are():
    with pytest.raises(DataError, match=r"ultra:es-commands.*Did you mean 'ultra:es-commands'"):
        list(TextReader().texts("ultra:es-comands"))


def test_embedded_sentences_are_grouped_by_template(command_cache):
    record = next(TextReader(cache_dir=command_cache).records(DataSource("ultra:es-commands")))
    assert record.group is not None
    assert record.group != record.text


def test_identity_changes_with_the_file_and_the_column_but_not_with_the_weight(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("uno\n", encoding="utf-8")
    first = identity(DataSource(str(path)))
    assert identity(DataSource(str(path), weight=3)) == first
    assert identity(DataSource(str(path), column="body")) != first
    path.write_text("uno\ndos\n", encoding="utf-8")
    assert identity(DataSource(str(path))) != first


def test_what_is_neither_a_file_nor_a_folder():
    with pytest.raises(DataError, match="neither a file nor a folder"):
        list(TextReader().records(DataSource("/dev/null")))


@pytest.mark.parametrize(
    "name", ["~no-such-user/texts.txt", "~no-such-user/*", "a" * 5000 + ".txt", "\ud800.txt", "[", "a*\0"]
)
def test_odd_names_of_files_are_no_tracebacks(name):
    with pytest.raises(DataError, match=r"no such file|holds no file"):
        list(TextReader().records(DataSource(name)))
