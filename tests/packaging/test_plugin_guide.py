"""The guide for authors of plugins: every block of code is executed, and every example keeps the rules."""

import itertools
import re
import shlex
from pathlib import Path

import attrs
import click
import pytest
import torch
from click.testing import CliRunner

from support.guide import LANGUAGES, Page, attribute
from ultra_blocks import Traits
from ultra_blocks.layout import Layout
from ultra_blocks.traits import NormTraits
from ultra_core.config import dump, parse_source
from ultra_core.plugins.hooks import build_manager
from ultra_core.plugins.kinds import KINDS
from ultra_core.plugins.metadata import Entry
from ultra_core.testing import run
from ultra_optim.contract.traits import OptimizerTraits
from ultra_train.cli.app import cli
from ultra_train.testing import HookCase, trials

DOCS = Path(__file__).parents[2] / "docs"
PATHS = [DOCS / "plugins.md", *sorted((DOCS / "plugins").glob("*.md"))]
WITH_KITS = ("blocks", "norms", "ffns", "positions", "optimizers", "schedules", "models", "tasks")
OTHER_PROGRAMS = {"pip", "cd", "pytest"}

PRESET = """\
model_class: frankenstein
model:
  hidden_size: 32
  num_layers: 1
  num_heads: 2
  retention_heads: 2
  ffn_hidden_size: 64
  use_moe: false
  use_hope: false
training:
  optimizer: {optimizer_class: adamw, parameters: {adamw-lr: 1.0e-3}}
"""


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def page(request, monkeypatch, tmp_path):
    """A page of the guide, with what it defines installed, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    found = Page(request.param)
    found.install(tmp_path, monkeypatch)
    return found


def test_every_block_has_a_language_that_is_checked():
    pages = [Page(path) for path in PATHS]
    assert {block.language for page in pages for block in page.blocks} <= LANGUAGES
    fences = sum(page.text.count("```") for page in pages)
    assert fences == 2 * sum(len(page.blocks) for page in pages)


def test_entry_points_name_what_the_page_defines(page):
    for group, entries in page.entry_points().items():
        for target in entries.values():
            if group != "ultra.presets":
                assert attribute(target) is not None


def test_every_kind_has_an_example():
    found = {group for path in PATHS for group in Page(path).entry_points()}
    assert found == {f"ultra.{kind}" for kind in KINDS} | {"ultra.plugins"}


def examples():
    """Return the plugins of the guide that there is a kit for."""
    return [
        pytest.param(path, kind, name, id=name)
        for path in PATHS
        for kind in WITH_KITS
        for name in Page(path).entry_points().get(f"ultra.{kind}", {})
    ]


@pytest.mark.parametrize(("path", "kind", "name"), examples())
def test_examples_pass_the_check(path, kind, name, monkeypatch, tmp_path):
    Page(path).install(tmp_path, monkeypatch)
    result = CliRunner().invoke(cli, ["plugin", "check", f"{kind}:{name}"])
    assert result.exit_code == 0, result.output
    assert ", 0 broken" in result.output


def completed(fragment: dict) -> dict:
    """Return a fragment of a preset with the sections and keys of a small one that it leaves out."""
    whole = parse_source(PRESET).tree
    sections = {
        key: {**whole[key], **value}
        for key, value in fragment.items()
        if isinstance(value, dict) and key in whole
    }
    return whole | fragment | sections


SYLLABLES = ("ca", "sa", "lo", "me", "ti", "ra", "no", "pe", "lu", "do")
WORDS = ["".join(pair) for pair in itertools.product(SYLLABLES, repeat=2)]
TEXTS = "\n".join(
    f"{WORDS[n % 100]} {WORDS[7 * n % 100]}. luego {WORDS[3 * n % 100]} {WORDS[9 * n % 100]}."
    for n in range(200)
)
"""The texts that the preset of the task names."""


def test_presets_are_valid(page, tmp_path):
    """Fragments are completed by a small preset; what stands in them is read as strictly as a file."""
    (tmp_path / "texts.txt").write_text(TEXTS)
    for block in page.of("yaml"):
        preset = tmp_path / "preset.yaml"
        preset.write_text(dump(completed(parse_source(block.text).tree)))
        done = CliRunner().invoke(cli, ["validate", str(preset)])
        assert done.exit_code == 0, f"line {block.line}: {done.output}"


def test_commands_exist_with_these_options(page):
    for block in page.of("console"):
        for line in block.text.splitlines():
            assert line.startswith("$ "), line
            program, *words = shlex.split(line.removeprefix("$ "))
            if program == "ultra-train":
                parse(cli, words)
            else:
                assert program in OTHER_PROGRAMS, line


def parse(command: click.Command, words: list[str]) -> None:
    """Parse a command line without running it; unknown commands and options are errors."""
    context = click.Context(command)
    while isinstance(command, click.Group):
        name, command, words = command.resolve_command(context, words)
        context = click.Context(command, parent=context, info_name=name)
    command.parse_args(context, words)


@pytest.mark.parametrize(
    ("name", "declared"),
    [("blocks", Traits), ("norms_ffns_positions", NormTraits), ("optimizers", OptimizerTraits)],
)
def test_all_traits_are_described_with_their_defaults(name, declared):
    text = (DOCS / "plugins" / f"{name}.md").read_text()
    table = re.search(r"\| trait \| default \|.*?\n\n", text, re.DOTALL)
    assert table is not None
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", table[0], re.MULTILINE))
    assert rows == {field.name: repr(field.default) for field in attrs.fields(declared)}


def test_all_fields_of_a_layout_are_described():
    text = (DOCS / "plugins" / "blocks.md").read_text()
    public = {name for name in dir(Layout) if not name.startswith("_")} | {*Layout.__dataclass_fields__}
    described = set(re.findall(r"^\| `(\w+)", text, re.MULTILINE)) | set(
        re.findall(r"`Layout\.(\w+)\(", text)
    )
    assert public - {"cu_seqlens", "max_seqlen"} <= described


def test_links_lead_somewhere():
    for path in PATHS:
        for target in re.findall(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)", path.read_text()):
            file, anchor = target
            if file.startswith("http"):
                continue
            there = (path.parent / file) if file else path
            assert there.is_file(), f"{path.name}: {file}"
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert not anchor or anchor in anchors, f"{path.name}: {file}#{anchor}"


def test_the_hooks_of_the_guide_are_called(monkeypatch, tmp_path):
    Page(DOCS / "plugins" / "hooks.md").install(tmp_path, monkeypatch)
    manager = build_manager([("my-package:diary", attribute("my_package.diary"))])
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(11))})
    (roles,) = manager.hook.ultra_parameter_roles(model=model)
    assert roles == {"layers.10.weight": "last", "layers.10.bias": "last"}
    (metrics,) = manager.hook.ultra_evaluate(run=None, model=model)
    assert metrics["weight_norm"] > 0
    assert len(manager.hook.ultra_callbacks(run=None)[0]) == 1
    report = run(trials([HookCase(Entry("diary", "my-package", "0.1", "my_package.diary"))]))
    assert not report.broken, report.broken


def test_the_task_of_the_guide_trains(monkeypatch, tmp_path):
    page = Page(DOCS / "plugins" / "tasks.md")
    page.install(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text(TEXTS)
    (tmp_path / "order.yaml").write_text(next(page.of("yaml")).text)
    done = CliRunner().invoke(cli, ["run", "order.yaml", "--name", "order", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "eval_order_accuracy" in (tmp_path / "runs" / "order" / "metrics.jsonl").read_text()
    assert (tmp_path / "runs" / "order" / "model" / "model.safetensors").is_file()
