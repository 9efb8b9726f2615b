"""What related optimizers share.

* ``adam``: Adam's update and bias corrections; ``averaging``: schedule-free and primal averaging.
* ``matrices``, ``stacks``, ``flat``: methods for hidden matrices, one by one or in batches of one shape.
* ``muon``, ``orthogonal``, ``qk_clip``: Muon, its orthogonalisation, and the limit on attention logits.
* ``factored``, ``quantised``: compressed state; ``experts``: stacked experts.
* ``triangular``: products of triangular matrices.
"""
