"""What training leaves behind: weights, stored as float16 and used as float32, and a model card."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save as weights_as_bytes
from torch import Tensor, nn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.models import Card
from nni_widgets.zoo.training.samples import write_grid

Report = Callable[[str], None]
Figures = Callable[[nn.Module], dict[str, float]]


def stored(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights as they are stored: floating-point numbers in half precision."""
    return {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }


def write(
    name: str, design: Design, model: nn.Module, figures: Figures, minutes: float, folder: Path
) -> Card:
    """Write weights and card, with the figures measured on the weights as stored.

    Weights that are part of another package are not written again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = b""
    if design.weights is None:
        weights = stored(model)
        model.load_state_dict(weights)
        content = weights_as_bytes(weights)
        (folder / f"{name}.safetensors").write_bytes(content)
    card = Card(
        name=name,
        architecture=design.architecture,
        n_parameters=sum(p.numel() for p in model.parameters()),
        input_shape=design.input_shape,
        low=0.0,
        high=1.0,
        classes=design.classes,
        data=design.data,
        recipe=dataclasses.asdict(design.recipe) if design.recipe else {},
        optimizer=design.optimizer,
        minutes=round(minutes, 1),
        torch_version=str(torch.__version__),
        test_data=design.test_data,
        figures=figures(model),
        licence=design.licence,
        sha256=hashlib.sha256(content).hexdigest() if content else "",
        recipe_chosen_on=design.recipe_chosen_on,
        makes=design.makes,
    )
    if hasattr(model, "sample"):
        write_grid(model, folder / f"{name}.png")
    facts = {key: value for key, value in dataclasses.asdict(card).items() if key != "samples"}
    text = json.dumps(facts, indent=2) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return card
