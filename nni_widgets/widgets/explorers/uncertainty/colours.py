"""What its charts have in common: the colour of what is predicted, of means, and of the rest."""

from __future__ import annotations

from nni_widgets.widgets.parts.charts import LINE_COLOURS

CHOSEN, SECOND = LINE_COLOURS[:2]
PLAIN = "#7b8794"
