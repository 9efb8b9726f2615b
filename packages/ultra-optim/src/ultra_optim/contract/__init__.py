"""What holds for every optimizer.

* ``checks``: hyperparameters, state dicts and gradients that are refused.
* ``state_spec``: the specification of the state of a parameter.
* ``traits``: what a class declares about itself; ``facts``: what its docstring states.
"""
