"""From a model or a preset to parameter groups.

* ``groups`` and ``module_types``: roles and kinds of parameters, from modules and their types.
* ``build``: an optimizer by name over a model.
* ``preset_keys``, ``option_names``, ``option_aliases``: optimizer keys of presets, parsed into options.
"""
