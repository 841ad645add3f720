"""Models that others have trained: nothing to train, their weights read and measured."""

import torch
from torch import nn

from nni_widgets.zoo.designs import Design
from nni_widgets.zoo.photographs import photograph_batch, photographs, short_names
from nni_widgets.zoo.training.store import Report

RIGHT = {
    "bison": "bison", "camera": "tripod", "carcassonne": "castle", "coffee": "espresso",
    "crab": "rock crab", "german_shepherd": "German shepherd", "hen": "hen", "jaguar": "jaguar",
    "koala": "koala", "komodo_dragon": "Komodo dragon", "lemur": "Madagascar cat",
    "macaw": "macaw", "neuschwanstein": "castle", "polar_bear": "ice bear",
    "pont_du_gard": "viaduct", "ram": "ram", "red_panda": "lesser panda",
}  # fmt: skip
"""The class of ImageNet that each photograph shows, where there is one that it plainly shows."""
SURE = 0.7


def train(design: Design, report: Report) -> nn.Module:
    """The model with its published weights. Raises ``ValueError`` if they are not installed."""
    if design.weights is None:
        raise ValueError(
            "train: the weights of a published model must be read from its package; got a design "
            "without. Give its weights."
        )
    model = design.build()
    model.load_state_dict(design.weights())
    report("nothing to train: the weights are published")
    return model.eval()


@torch.no_grad()
def figures(model: nn.Module) -> dict[str, float]:
    """The share of all photographs whose right class gets a probability above 0.7."""
    names = short_names()
    p, top = model(photograph_batch(tuple(RIGHT))).softmax(1).max(1)
    hits = [
        names[k] == right and sure > SURE
        for k, sure, right in zip(top.tolist(), p.tolist(), RIGHT.values(), strict=True)
    ]
    return {f"right at p > {SURE}": sum(hits) / len(photographs())}
