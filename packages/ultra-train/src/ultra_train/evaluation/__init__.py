"""How good encoders are: measures with intervals and tests, several systems side by side.

* ``statistics``: bootstrap intervals and paired tests over the items of an evaluation.
* ``ranking_measures``, ``pair_measures``: what is measured on rankings and on pairs of texts.
* ``vectors``, ``systems``, ``hybrids``: encoders, each as what it is, and the searches that are compared.
* ``retrieval``, ``pairs``, ``pair_data``: the two kinds of evaluations, and the data of the second.
* ``sparsity``: how sparse the vectors of a sparse encoder are.
* ``results``, ``baseline``, ``table``: the results, earlier ones beside them, and their table.
"""
