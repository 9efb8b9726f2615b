"""What the task ``sentence_order`` declares; it is imported with every preset, so it imports no torch."""

from typing import ClassVar

import attrs

from ultra_train.config.data import TextKeys
from ultra_train.config.keys import Count, Share, key
from ultra_train.tasks.base import CardText, Curve, Task


@attrs.frozen(kw_only=True)
class OrderOptions(TextKeys):
    """The keys of plain text, and two of our own."""

    swap_probability: Share = key(0.5, "share of the pairs that are shown in the wrong order")
    max_sentence_length: Count = key(24, "tokens in a sentence; longer ones are cut")


class SentenceOrder(Task):
    """Predicts whether two sentences that follow each other are in the right order."""

    options: ClassVar = OrderOptions
    curves: ClassVar = (Curve("Accuracy of the order", ("eval_order_accuracy",)),)
    headline_metrics: ClassVar = ("eval_order_accuracy",)
    card: ClassVar = CardText(tags=("sentence-order",), summary="An encoder trained on sentence order.")

    def rules(self, options, preset):
        """Yield a fault where two sentences and three special tokens do not fit into a row."""
        if options.max_length < (needed := 2 * options.max_sentence_length + 3):
            message = f"two sentences of {options.max_sentence_length} tokens need max_length {needed}"
            yield (*self.path, "max_sentence_length"), message

    def start(self, preset, folder, **options):
        """Return a run of the task."""
        from ultra_example_plugin.sentence_order.training import OrderRun

        return OrderRun(self, preset, folder, **options)
