"""SPLADE without the logits of a whole batch in memory, and the logits of heads that bound them.

A batch of 32 texts of 256 tokens with a vocabulary of 30,000 has 246 million logits, of which the pooling
keeps one in 256. :mod:`chunked` lets the pooling apply the output layer to some positions at a time,
:mod:`max_logits` has the gradient of the largest logits, and :mod:`raw_logits` takes the logits before a
sigmoid or a soft cap.
"""
