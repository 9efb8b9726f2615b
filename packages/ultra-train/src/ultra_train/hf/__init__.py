"""What holds for any model or tokenizer of transformers, whoever published it."""
