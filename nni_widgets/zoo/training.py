"""The command that trains a model of the zoo again: ``python -m nni_widgets.zoo.training NAME``.

It writes the weights (safetensors, stored as float16, used as float32) and the model card with
the accuracy that these stored weights reach on the whole test set. ``all`` instead of a name
trains every model, one after the other. With ``--hold-out 10000`` the last 10,000 training images
are left out, the accuracy on them is printed and nothing is written: a recipe is chosen by that.
"""

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import save as weights_as_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from nni_widgets.zoo import models
from nni_widgets.zoo.augmentation import augment
from nni_widgets.zoo.data import Digits, digits
from nni_widgets.zoo.designs import DESIGNS, Design
from nni_widgets.zoo.models import Card

OPTIMIZER = "AdamW, one learning-rate cycle, cross-entropy"
LICENCE = "MIT, as the code of nni_widgets"
TEST_BATCH = 500
ALL = "all"

Report = Callable[[str], None]


def train(design: Design, data: Digits, report: Report) -> nn.Module:
    """Build a model and train it by its recipe; the global random state is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(design.recipe.seed)
        model = design.build()
        fit(model, design, data, report)
    return model.eval()


def fit(model: nn.Module, design: Design, data: Digits, report: Report) -> None:
    """Train a model in place; ``report`` is told the mean loss of each epoch."""
    recipe = design.recipe
    generator = torch.Generator().manual_seed(recipe.seed)
    steps_per_epoch = -(-len(data) // recipe.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.peak_learning_rate,
        total_steps=recipe.epochs * steps_per_epoch,
        pct_start=recipe.warm_up,
    )
    model.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        order = torch.randperm(len(data), generator=generator)
        for batch in torch.split(order, recipe.batch_size):
            x, y = data[batch]
            loss = F.cross_entropy(model(augment(x, recipe, generator)), y)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if design.constrain is not None:
                design.constrain(model)
            total += loss.item() * len(batch)
        report(f"epoch {epoch + 1} of {recipe.epochs}: loss {total / len(data):.4f}")


def split(data: Digits, n: int) -> tuple[Digits, Digits]:
    """The pictures without the last ``n``, and these."""

    def part(places: slice) -> Digits:
        x, y = data[places]
        return Digits((x * 255).round().byte(), y)

    return part(slice(None, -n)), part(slice(-n, None))


@torch.no_grad()
def accuracy(model: nn.Module, data: Digits) -> float:
    """The share of pictures whose largest logit is that of their label."""
    hits = 0
    for start in range(0, len(data), TEST_BATCH):
        x, y = data[start : start + TEST_BATCH]
        hits += int((model(x).argmax(1) == y).sum())
    return hits / len(data)


def stored(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights as they are stored: floating-point numbers in half precision."""
    return {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }


def write(
    name: str, design: Design, model: nn.Module, n_images: int, minutes: float, folder: Path
) -> Card:
    """Write weights and card, with the accuracy measured on the weights as stored."""
    weights = stored(model)
    model.load_state_dict(weights)
    test = digits("test")
    content = weights_as_bytes(weights)
    card = Card(
        name=name,
        architecture=design.architecture,
        n_parameters=sum(p.numel() for p in model.parameters()),
        input_shape=tuple(test[0][0].shape),
        low=test.low,
        high=test.high,
        classes=test.classes,
        data=f"MNIST, all {n_images:,} training images",
        recipe=design.recipe,
        optimizer=OPTIMIZER,
        minutes=round(minutes, 1),
        torch_version=str(torch.__version__),
        test_data=f"MNIST, all {len(test):,} test images",
        test_accuracy=accuracy(model, test),
        licence=LICENCE,
        sha256=hashlib.sha256(content).hexdigest(),
        recipe_chosen_on=design.recipe_chosen_on,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.safetensors").write_bytes(content)
    text = json.dumps(dataclasses.asdict(card), indent=2) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return card


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {number}")
    return number


def _design(name: str, epochs: int | None) -> Design:
    design = DESIGNS[name]
    if epochs is None:
        return design
    return dataclasses.replace(design, recipe=dataclasses.replace(design.recipe, epochs=epochs))


def _train_and_write(name: str, design: Design, data: Digits, folder: Path, report: Report) -> None:
    start = time.perf_counter()
    model = train(design, data, report)
    minutes = (time.perf_counter() - start) / 60
    report(str(write(name, design, model, len(data), minutes, folder)))


def _train_and_validate(name: str, design: Design, data: Digits, n: int, report: Report) -> None:
    rest, held_out = split(data, n)
    reached = accuracy(train(design, rest, report), held_out)
    report(f"{name}: {reached:.2%} on {n:,} training images that were left out")


def main(arguments: Sequence[str] | None = None, report: Report = print) -> None:
    """Train the models that the command line names, and write or validate them."""
    parser = argparse.ArgumentParser(
        prog="python -m nni_widgets.zoo.training", description="Train a model of the zoo again."
    )
    parser.add_argument("name", choices=(*models.names(), ALL), help="a model, or all of them")
    parser.add_argument("--out", type=Path, default=models.WEIGHTS, help="folder to write to")
    parser.add_argument("--epochs", type=_count, help="other than the recipe's number")
    parser.add_argument(
        "--hold-out",
        type=_count,
        metavar="N",
        help="train without the last N images, print the accuracy on them, and write nothing",
    )
    options = parser.parse_args(arguments)
    data = digits("train")
    if options.hold_out is not None and options.hold_out >= len(data):
        parser.error(f"argument --hold-out: must be less than {len(data)}; got {options.hold_out}")
    for name in models.names() if options.name == ALL else (options.name,):
        design = _design(name, options.epochs)
        torch.set_num_threads(design.recipe.threads)
        if options.hold_out is None:
            _train_and_write(name, design, data, options.out, report)
        else:
            _train_and_validate(name, design, data, options.hold_out, report)


if __name__ == "__main__":
    main()
