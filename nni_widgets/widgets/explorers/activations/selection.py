"""How a layer is looked at: the parameters of the Activations explorer."""

from __future__ import annotations

from nni_widgets.params import Declared, param

STRONGEST, IN_ORDER = "strongest first", "in order"


class Look(Declared):
    """How a layer is looked at."""

    order: str = param(STRONGEST, "how the maps are put in order", choices=(STRONGEST, IN_ORDER))
    n_channels: int = param(36, "how many maps are shown", low=1, slider=(1, 144))
    what_was_kept: bool = param(False, "whether a picture is sought that the layer takes for this")


Selected = tuple[Look, str, "int | None"]
