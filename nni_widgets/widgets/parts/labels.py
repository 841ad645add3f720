"""Names for what ipywidgets leaves nameless: slider handles, pictures, drop-downs, canvases.

ipywidgets gives a slider's handle no accessible name and an image no ``alt`` text. ``labels.js``
sets them in the page, from the classes that ``widget.add_class`` gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Dict, Unicode


class Labels(anywidget.AnyWidget):
    """An invisible widget that names its neighbours in the same output, also those still to come.

    ``names`` maps a CSS class to the accessible name of the widgets that have it; a slider without
    one takes its description.
    """

    _esm = Path(__file__).with_name("labels.js")

    names = Dict(key_trait=Unicode(), value_trait=Unicode()).tag(sync=True)

    def update(self, names: Mapping[str, str]) -> None:
        """Add these names, or change them; the others stay."""
        self.names = {**self.names, **names}

    def __repr__(self) -> str:
        return f"Labels({len(self.names)} names)"

    def __init__(self, names: Mapping[str, str] | None = None, **traits: Any) -> None:
        super().__init__(names=dict(names or {}), **traits)
