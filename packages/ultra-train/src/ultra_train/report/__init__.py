"""Self-contained HTML pages: the report of a run, and several runs on one page.

* ``page``: the frame of a page, with its switches and its style; ``charts``: line charts from named series;
  ``tables``: tables; ``thinning``: which points of a long curve are drawn. Any page can be built with these.
* ``run_page``: the pages of runs. ``run_record`` reads what a run has left; ``curves``, ``marks``,
  ``samples``, ``overview``, ``details``, ``settings`` and ``differences`` are the parts of the page;
  ``words`` writes numbers.
"""
