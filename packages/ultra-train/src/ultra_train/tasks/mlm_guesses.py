"""The five sentences that a run on the embedded Spanish commands shows at its end."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from ultra_train.fill_mask import guesses

SENTENCES = (
    "abre la [MASK] del garaje",
    "enciende la [MASK] de la cocina",
    "pon la [MASK] a 20 grados",
    "pon un temporizador de 10 [MASK]",
    "añade pan a la lista de la [MASK]",
)


def guesses_table(
    model: Any, tokenizer: Any, sentences: tuple[str, ...] = SENTENCES, top_k: int = 3
) -> Table:
    """Return a table of sentences with a blank and the model's best guesses for it."""
    table = Table("sentence", "guesses")
    for sentence in sentences:
        best = guesses(model, tokenizer, sentence.replace("[MASK]", tokenizer.mask_token), top_k)[0]
        table.add_row(
            sentence.replace("[MASK]", f"[bold]\\[{best[0].token}][/bold]"),
            ", ".join(f"{guess.token} {guess.probability:.0%}" for guess in best),
        )
    return table
