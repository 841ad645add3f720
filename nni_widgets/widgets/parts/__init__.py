"""What several explorers are made of, each file one thing; no part knows an explorer or a base.

What is explained: ``subject``, ``inputs``, ``samples``, ``upload``, and ``pad``, the pen. What is
asked of it: ``scores``, ``classes``, ``layer_choice``, ``channel_choice``. Pictures: ``maps`` (a
heatmap, or a plain picture), ``panes`` (a heatmap with its method), ``tiles``, ``frame`` (dragged
over a picture), ``patches`` (chosen on one), ``fitting`` (patches that suit it), ``overlay`` (drawn
over one), ``film``. Numbers: ``charts``, ``axes`` (the frames of charts), ``objective``. Controls:
``panel`` (of declared parameters), ``controls``, ``rule_table``, ``lrp_rules``; ``quiet`` and
``closing`` are for whoever makes them. Words and files: ``status``, ``copied``, ``files``. What
only the browser can do: ``page``, ``labels``. ``last`` is what need not be computed again.
"""
