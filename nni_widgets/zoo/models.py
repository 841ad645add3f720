"""The trained models of the zoo: their names, their model cards, and the loading of weights."""

import base64
import hashlib
import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as read_weights
from torch import nn

from nni_widgets.zoo.designs import DESIGNS, Design
from nni_widgets.zoo.wrap import wrap

__all__ = ["Card", "card", "load", "names", "wrap"]

MANY = 20
WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class Card:
    """What a trained model is and how good it is; read from the files beside its weights.

    ``samples`` is a PNG of pictures drawn from a model that can be drawn from.
    """

    name: str
    architecture: str
    n_parameters: int
    input_shape: tuple[int, ...]
    low: float
    high: float
    classes: tuple[str, ...]
    data: str
    recipe: Mapping[str, float]
    optimizer: str
    minutes: float
    torch_version: str
    test_data: str
    figures: Mapping[str, float]
    licence: str
    sha256: str
    recipe_chosen_on: str
    makes: str = ""
    samples: bytes = field(default=b"", repr=False)

    @property
    def test_accuracy(self) -> float:
        """The accuracy on the test data. Raises ``ValueError`` if it is not among the figures."""
        if "test accuracy" not in self.figures:
            raise ValueError(
                f"models: a test accuracy must be among the figures of a card; got {self.name}, "
                f"which has {', '.join(self.figures)}. Look at figures."
            )
        return self.figures["test accuracy"]

    @property
    def seed(self) -> int:
        """The seed of all that is random in the training.

        Raises ``ValueError`` for a model that was not trained by this project.
        """
        if "seed" not in self.recipe:
            raise ValueError(
                f"models: a seed must be that of a model with a recipe; got {self.name}, which was "
                "trained elsewhere. Look at optimizer."
            )
        return int(self.recipe["seed"])

    def _class_names(self) -> str:
        first = ", ".join(self.classes[:MANY])
        return first if len(self.classes) <= MANY else f"{first}, …"

    def rows(self) -> dict[str, str]:
        """The card as the lines of a table."""
        numbers = self.recipe.items()
        recipe = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in numbers)
        here = f"{self.minutes:.1f} minutes, torch {self.torch_version}"
        trained = {"training": here} if self.recipe else {}
        reached = {
            key: f"{f'{value:.2%}' if abs(value) <= 1 else f'{value:.1f}'} on {self.test_data}"
            for key, value in self.figures.items()
        }
        return {
            "architecture": f"{self.architecture}; {self.n_parameters:,} parameters",
            "input": f"(N, {', '.join(map(str, self.input_shape))}), "
            + ("codes" if len(self.input_shape) == 1 else f"pixels {self.low:g} to {self.high:g}"),
            "output": self.makes or f"{len(self.classes)} logits: {self._class_names()}",
            "trained on": self.data,
            "recipe": "; ".join(filter(None, (self.optimizer, recipe))),
            "recipe chosen on": self.recipe_chosen_on,
            **trained,
            **reached,
            "licence": self.licence,
        }

    def __str__(self) -> str:
        rows = self.rows()
        indent = max(map(len, rows)) + 4
        lines = [
            textwrap.fill(
                text, 88, initial_indent=f"  {key}".ljust(indent), subsequent_indent=" " * indent
            )
            for key, text in rows.items()
        ]
        return "\n".join([self.name, *lines])

    def _repr_markdown_(self) -> str:
        rows = "\n".join(f"| {key} | {text} |" for key, text in self.rows().items())
        table = f"| model | {self.name} |\n| --- | --- |\n{rows}\n"
        if not self.samples:
            return table
        picture = base64.b64encode(self.samples).decode("ascii")
        return f"{table}\n![pictures drawn from {self.name}](data:image/png;base64,{picture})\n"


def names() -> tuple[str, ...]:
    """The names of all models that ``load`` knows."""
    return tuple(DESIGNS)


def card(name: str, folder: str | Path = WEIGHTS) -> Card:
    """The model card of a trained model. Raises ``ValueError`` for a name that is not known."""
    _design(name)
    path = Path(folder, f"{name}.json")
    try:
        grid = path.with_suffix(".png")
        samples = grid.read_bytes() if grid.exists() else b""
        return _card_from({**json.loads(path.read_text(encoding="utf-8")), "samples": samples})
    except FileNotFoundError:
        raise FileNotFoundError(
            f"models: the card of {name} must be in {path}; got no such file. {_remedy(name)}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"models: the card {path} must be a complete model card; got {error!r}. {_remedy(name)}"
        ) from None


def load(name: str, folder: str | Path = WEIGHTS) -> nn.Module:
    """A trained model, in evaluation mode; each call gives a fresh one, and draws no random number.

    The model carries ``classes``, ``low``, ``high`` and ``input_shape`` as plain attributes.
    Raises ``ValueError`` for a name that is not known and for weights that are not those of the
    card, ``ModuleNotFoundError`` for "photos" without the extra of that name.
    """
    design, facts = _design(name), card(name, folder)
    with torch.random.fork_rng(devices=[]):  # what torch draws as first weights is thrown away
        model = design.build()
    if design.weights is None:
        model.load_state_dict(read_weights(_verified(name, folder, facts.sha256)))
    else:
        model.load_state_dict(design.weights())
    described: Any = model
    described.classes, described.input_shape = facts.classes, facts.input_shape
    described.low, described.high = facts.low, facts.high
    return model.eval()


def _design(name: str) -> Design:
    if not isinstance(name, str) or name not in DESIGNS:
        raise ValueError(
            f"models: a name must be one of {', '.join(DESIGNS)}; got {name!r:.80}. "
            "Choose one of these."
        )
    return DESIGNS[name]


def _card_from(entries: dict[str, Any]) -> Card:
    tuples = {key: tuple(entries[key]) for key in ("input_shape", "classes")}
    return Card(**{**entries, **tuples})


def _verified(name: str, folder: str | Path, sha256: str) -> bytes:
    """The bytes of a weight file, if they are those that the card describes."""
    path = Path(folder, f"{name}.safetensors")
    if not path.exists():
        raise FileNotFoundError(
            f"models: the weights of {name} must be in {path}; got no such file. {_remedy(name)}"
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"models: the weights {path} must have the sha256 {sha256[:12]}... of their card; "
            f"got {found[:12]}..., so the file is damaged or cut short. {_remedy(name)}"
        )
    return content


def _remedy(name: str) -> str:
    return f"Install the package again, or run python -m nni_widgets.zoo.training {name}."
