"""The mathematics of the blocks, without parameters.

* ``attention``, ``softcap_attention``, ``tiled_attention``, ``tile_scores``: dense attention.
* ``band``, ``block_sparse``, ``nsa``, ``nsa_branches``: sparse attention, with ``document_blocks`` and
  ``document_attention``.
* ``chunks``, ``intra_chunk``, ``intra_chunk_tree``, ``triangular``: what chunked recurrences share.
* ``retention``, ``gated_linear``, ``delta_rule``, ``ssd``, ``neural_memory``, ``deep_memory``: chunked forms.
* ``fla_kernels``, ``fla_forms``: kernels of flash-linear-attention; ``dispatch`` chooses between both.
* ``conv``, ``experts``, ``max_scores``, ``ode_solvers``: convolution, experts, logits, Runge-Kutta methods.
"""
