from torch import nn


class Counting(nn.Module):
    """Notes what it is told after each update."""

    def __init__(self):
        super().__init__()
        self.told = []

    def after_step(self, taken):
        self.told.append(taken)


def test_modules_are_told_of_every_update_and_of_dropped_ones(make_trainer):
    trainer = make_trainer(max_steps=4, patience=5)
    trainer.model.counting = Counting()
    trainer.loader.poison = {(0, 3)}  # the second window of two micro-batches
    trainer.train()
    assert trainer.state.global_step == 4
    assert trainer.model.counting.told == [True, False, True, True, True]
