"""The command that trains a model of the zoo again: ``python -m nni_widgets.zoo.training NAME``.

It writes the weights and the model card with the figures that these stored weights reach. ``all``
instead of a name trains every model, with ``--jobs 2`` two at a time, each on the threads of its
recipe: within an hour on two cores. With ``--hold-out 10000`` the last 10,000
training images are left out, the figures on them are printed and nothing is written: a recipe is
chosen by that.
"""

import argparse
import dataclasses
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from nni_widgets.zoo import models
from nni_widgets.zoo.designs import DESIGNS, Design
from nni_widgets.zoo.training.left_out import split, training_digits
from nni_widgets.zoo.training.store import Report, write

ALL = "all"
TRAINED = tuple(name for name, design in DESIGNS.items() if design.weights is None)


def family(design: Design) -> Any:
    """The module that trains and measures a design."""
    return import_module(f"nni_widgets.zoo.training.{design.family}")


def shortened(design: Design, epochs: int | None) -> Design:
    """The design with another number of epochs; None: as it is."""
    if epochs is None:
        return design
    return dataclasses.replace(design, recipe=dataclasses.replace(design.recipe, epochs=epochs))


def train_and_write(name: str, design: Design, folder: Path, report: Report) -> None:
    """Train a model by its recipe and write what `models.load` reads."""
    start = time.perf_counter()
    model = family(design).train(design, report)
    minutes = (time.perf_counter() - start) / 60
    report(str(write(name, design, model, family(design).figures, minutes, folder)))


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
    parser.add_argument("--jobs", type=_count, default=1, help="how many models at a time")
    options = parser.parse_args(arguments)
    names = TRAINED if options.name == ALL else (options.name,)
    for name in names if options.hold_out else ():
        if not hasattr(family(DESIGNS[name]), "measured"):
            what = f"the {DESIGNS[name].family} of {name}"
            parser.error(f"argument --hold-out: {what} leaves nothing out")
    if options.name == ALL and options.jobs > 1:
        given = list(sys.argv[1:] if arguments is None else arguments)
        _side_by_side([item for item in given if item != ALL], options.jobs, report)
        return
    if options.epochs and options.name not in (*TRAINED, ALL):
        parser.error(f"argument --epochs: {options.name} is not trained here")
    for name in names:
        design = shortened(DESIGNS[name], options.epochs)
        if design.recipe is not None:
            torch.set_num_threads(design.recipe.threads)
        report(name)
        if options.hold_out is None:
            train_and_write(name, design, options.out, report)
        else:
            _validate(design, options.hold_out, report, parser)


def _side_by_side(options: list[str], jobs: int, report: Report) -> None:
    """Train every model in a process of its own, so many at a time; the longest ones first."""

    def run(name: str) -> str:
        command = [sys.executable, "-m", "nni_widgets.zoo.training", name, *options]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    minutes = {name: models.card(name).minutes for name in TRAINED}
    with ThreadPoolExecutor(jobs) as pool:
        for told in pool.map(run, sorted(TRAINED, key=minutes.__getitem__, reverse=True)):
            report(told)


def _validate(design: Design, n: int, report: Report, parser: argparse.ArgumentParser) -> None:
    """Train without the last ``n`` training images and tell the figures on these."""
    data = training_digits(0)
    if n >= len(data):
        parser.error(f"argument --hold-out: must be less than {len(data)}; got {n}")
    rest, left_out = split(data, n)
    model = family(design).train(design, report, rest)
    reached = family(design).measured(model, left_out).items()
    told = ", ".join(f"{key} {value:.2%}" for key, value in reached)
    report(f"{told} on {n:,} training images that were left out")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {number}")
    return number


if __name__ == "__main__":
    main()
