"""What every run of a task can do without saying it itself."""

import pytest

from ultra_train.tasks.base import Task, TaskRun


class Nothing(TaskRun):
    def prepare(self):
        self.tokenizer = None

    def build_model(self):
        raise NotImplementedError

    def evaluation(self):
        return None

    def loader(self):
        return [None] * 10

    def facts(self):
        return {}

    def save(self, trainer, folder):
        raise NotImplementedError


class Idle(Task):
    def start(self, preset, folder, **options):
        return Nothing(self, preset, folder, **options)


@pytest.fixture
def run(load, minimal, tmp_path):
    def made(*overrides):
        preset = load(minimal, *(f"training.{override}" for override in overrides))
        return Idle("idle").start(preset, tmp_path, device=None)

    return made


@pytest.mark.parametrize(
    ("overrides", "world_size", "steps"),
    [
        (["max_steps=7"], 1, 7),
        (["num_epochs=2"], 1, 5),
        (["num_epochs=1"], 1, 3),
        (["num_epochs=9", "max_steps=4"], 1, 4),
        (["max_samples=1"], 1, 1),
        (["max_samples=100"], 1, 7),
        (["max_samples=100"], 2, 4),
    ],
)
def test_a_run_ends_at_its_first_limit(run, overrides, world_size, steps):
    made = run(*overrides)  # ten micro-batches of 4, and 4 of these in an update
    assert made.steps(made.loader(), world_size=world_size) == steps


def test_it_has_the_options_of_its_task_and_nothing_more_to_say(run):
    made = run()
    assert made.options is None
    assert (list(made.events()), list(made.closing_words(None, {})), made.tip(None)) == ([], [], None)
