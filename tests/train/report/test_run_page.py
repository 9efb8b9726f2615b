from __future__ import annotations

import json
import re
import shutil

import attrs
import pytest

from ultra_train.report.curves import charts
from ultra_train.report.marks import incidents, marks
from ultra_train.report.overview import state_of
from ultra_train.report.run_page import page_of, write_report
from ultra_train.report.run_record import RunRecord, read_run


def run_of(lines, **options):
    return RunRecord(name="a", lines=lines, **options)


def line(step, **metrics):
    return {"step": step, "tokens_seen": 100 * step, "training_hours": step / 10, **metrics}


def drawn(run):
    return {chart.title: chart for made in charts([run], []) if (chart := made.drawn()) is not None}


@pytest.fixture
def copy(finished_run, tmp_path):
    """A copy of the records of a finished run."""
    for name in ("metrics.jsonl", "run.json", "config.yaml"):
        shutil.copy(finished_run / name, tmp_path / name)
    return tmp_path


def test_equal_learning_rates_are_one_curve():
    run = run_of([line(n, lr_norms=0.1, lr_other=0.2 * n, lr_attention=0.2 * n) for n in (1, 2, 3)])
    assert [one.name for one in drawn(run)["Learning rate by role"].series] == ["norms", "other, attention"]
    run = run_of([line(n, lr_norms=0.1, lr_other=0.1) for n in (1, 2)])
    assert [one.name for one in drawn(run)["Learning rate by role"].series] == ["all roles"]


def test_roles_and_layers_have_charts_of_their_own():
    run = run_of([line(n, grad_norm=1.0, grad_norm_norms=1.0, grad_norm_layer_0=2.0) for n in (1, 2)])
    found = {title: [one.name for one in chart.series] for title, chart in drawn(run).items()}
    assert found["Gradient norm by role"] == ["norms"]
    assert found["Gradient norm by layer"] == ["0"]


def test_there_are_no_charts_without_data_or_of_nothing_but_zeros():
    run = run_of([line(n, loss=1.0, dropped_updates=0, gpu_celsius="nan") for n in (1, 2)])
    assert list(drawn(run)) == ["Loss"]


def test_a_metric_that_no_chart_knows_has_one_of_its_own():
    run = run_of([line(n, eval_similarity=0.5, eval_runtime=3.0) for n in (1, 2)])
    assert list(drawn(run)) == ["Similarity"]


def test_perplexity_of_training_is_shown_beside_that_of_evaluations(tmp_path):
    records = [line(1, loss=0.0), line(2, loss=1.0), {"step": 2, "eval_perplexity": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    values = {one.name: list(one.y) for one in drawn(read_run(tmp_path))["Perplexity"].series}
    assert values == {"training": pytest.approx([1.0, 2.71828], rel=1e-5), "held out": [3.0]}


def test_evaluations_are_placed_by_tokens_and_hours_too():
    run = run_of([line(10, loss=1.0), {"step": 15, "eval_loss": 2.0}, line(20, loss=1.0)])
    x = run.series("eval_loss", "held out").x
    assert {axis: list(values) for axis, values in x.items()} == {
        "step": [15],
        "tokens": [1500],
        "hours": [1.5],
    }


def test_events_and_resumptions_are_marks_with_their_reasons():
    events = [
        {"event": "data", "step": 0, "reason": "3 documents"},
        {"event": "dropped_update", "step": 3, "reason": "the loss is nan", "module": "head (Linear)"},
        {"event": "pause", "step": 5, "reason": "GPU at 91 C", "seconds": 90},
        {"event": "rollback", "step": 6, "to_step": 4, "reason": "three in a row"},
    ]
    parts = [{"step": 0, "outcome": "interrupted by SIGTERM"}, {"step": 2}, {"step": 4}]
    run = run_of([line(1, loss=1.0), line(6, loss=1.0), *events], facts={"parts": parts})
    assert [(one.step, one.kind, one.name, one.text) for one in incidents(run)] == [
        (2, "note", "resumed", "before, the run was stopped (interrupted by SIGTERM)"),
        (3, "fault", "dropped update", "the loss is nan; first in head (Linear)"),
        (4, "note", "resumed", "before, the process was killed"),
        (5, "pause", "pause", "GPU at 91 C; for 1 min 30 s"),
        (6, "fault", "rollback", "three in a row; back to update 4"),
    ]
    texts = {mark.text: dict(mark.x) for mark in marks(run)}
    assert texts["update 5: pause: GPU at 91 C; for 1 min 30 s"] == pytest.approx(
        {"step": 5, "tokens": 500, "hours": 0.5}
    )


def test_many_events_share_marks():
    events = [{"event": "dropped_update", "step": n, "reason": "nan"} for n in range(5000)]
    found = list(marks(run_of(events)))
    assert len(found) <= 155
    assert "(and 32 more until update 32)" in found[0].text


@pytest.mark.parametrize(
    ("parts", "running", "word"),
    [
        ([], False, "state not recorded"),
        ([{}], True, "running"),
        ([{"outcome": "finished"}], False, "finished"),
        ([{"outcome": "finished"}, {}], False, "killed"),
        ([{"outcome": "interrupted by SIGTERM"}], False, "stopped"),
    ],
)
def test_states(parts, running, word):
    assert state_of(run_of([], facts={"parts": parts}, running=running)).word == word


def test_settings_that_differ_from_the_defaults(finished_run):
    page = (finished_run / "report.html").read_text().replace("<wbr>", "")
    rows = dict(re.findall(r"<tr><th scope=row>([\w.-]+)</th><td>([^<]*)</td>", page))
    assert rows["training.batch_size"] == "2"
    assert rows["training.optimizer.parameters.muon-lr_norms"] == "0.001"
    assert rows["model.hidden_size"] == "16"
    assert "model.causal" not in rows
    assert "training.max_steps" not in rows  # it is filled in from scheduler_total_steps


def test_a_damaged_run_is_shown_with_notes(copy):
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "loss": NaN}\n[]\n{"step": 13, "lo')
    (copy / "run.json").write_text("{")
    (copy / "config.yaml").write_text("model: [")
    run = read_run(copy)
    assert [re.sub(r"[:(].*", "", note, flags=re.DOTALL) for note in run.notes] == [
        "config.yaml cannot be loaded, so that no settings are shown",
        "metrics.jsonl has a damaged line, which is left out.",
        "The last line of metrics.jsonl is cut off, as a killed process leaves it.",
        "run.json cannot be read ",
    ]
    page = page_of([run]).render()
    assert "<h2>Loss" in page
    assert "is cut off" in page


@pytest.mark.parametrize(
    "facts", [[], {"parts": 3}, {"parts": [{"step": "x", "machine": 1, "started": "?"}]}]
)
def test_facts_of_other_types_do_no_harm(copy, facts):
    (copy / "run.json").write_text(json.dumps(facts))
    write_report(copy)


def test_an_empty_folder_has_a_page_without_charts(tmp_path):
    page = write_report(tmp_path).read_text()
    assert "There is no metrics.jsonl" in page
    assert "data-chart" not in page


def test_several_runs_have_a_colour_each_and_tables_side_by_side(copy):
    first = read_run(copy, name="first")
    training = attrs.evolve(first.preset.training, batch_size=4)
    second = attrs.evolve(first, name="second", preset=attrs.evolve(first.preset, training=training))
    page = page_of([first, second]).render().replace("<wbr>", "")
    assert re.findall(r'data-group="(\w+)"', page) == ["first", "second"]
    assert "<tr><th scope=row>training.batch_size</th><td>2</td><td>4</td></tr>" in page
    assert "training.max_length</th>" not in page
    (loss,) = [chart for chart in charts([first, second], []) if chart.title == "Loss"]
    assert [(one.name, one.colour, one.dash) for one in loss.series] == [
        ("first: training", 0, 0),
        ("first: held out", 0, 1),
        ("second: training", 1, 0),
        ("second: held out", 1, 1),
    ]


def test_samples_are_shown_over_time():
    def event(step, text):
        guesses = [{"text": text, "score": 0.5}, {"text": "<x>", "score": 0.1}]
        return {
            "event": "samples",
            "step": step,
            "samples": [{"given": "la ____", "expected": "luz", "guesses": guesses}],
        }

    page = page_of([run_of([event(1, "voz"), event(2, "luz")])]).render()
    assert '<span class=guess title="voz 50%, &lt;x&gt; 10%">voz</span> <span class=score>50%</span>' in page
    assert '<span class=right title="luz 50%' in page


def test_samples_without_a_likely_guess_are_left_out():
    def page(*scores):
        samples = [
            {"given": f"input {n}", "guesses": [{"text": "luz", "score": score}]}
            for n, score in enumerate(scores)
        ]
        return page_of([run_of([{"event": "samples", "step": 1, "samples": samples}])]).render()

    some = page(0.3, 0.0049, -2.0)
    assert "input 0" in some
    assert "input 1" not in some
    assert "input 2" in some  # it is no probability
    assert "No guess has a probability of 0.5% or more." in page(0.004, 0.0)
