"""The benchmarks run and compare what they time with a reference; no figure of time is tested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nni_widgets.engine.methods import (
    CAM,
    METHODS,
    GradCAM,
    GradCAMPlusPlus,
    Gradient,
    GuidedGradCAM,
    Saliency,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from nni_widgets.engine.methods.activation_map import ActivationMap
from nni_widgets.engine.methods.cam import GradientMap

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TITLES = ["digits-cnn", "VGG-16-shaped", "ResNet-18-shaped", "EfficientNet-lite0-shaped"]
WITH_MAPS = ["digits-resnet", "cluttered-cam", "cluttered-cam-fine"]
ROWS = 20
MAP_ROWS = ["grad-cam", "layer-cam"]
ON_DIGITS_ALONE = "score-cam"
WITHOUT_A_ROW = {
    CAM: "a forward pass, its map read where GradCAM begins its backward pass",
    GradCAMPlusPlus: "GradCAM with another map",
    GuidedGradCAM: "GradCAM times GuidedBackprop",
    Gradient: "Saliency is its absolute value",
    SmoothGradSquared: "SmoothGrad with another statistic",
    VarGrad: "SmoothGrad with another statistic",
}
WITHOUT_CAPTUM = {
    *("simple-taylor", "alpha-beta", "epsilon-gamma-box", "deep-taylor"),
    *("reveal-cancel", "translation", "layer-cam", "score-cam"),
}
MEANT_TO_DIFFER = {"gamma", "smoothgrad", "rescale"}
NOT_FOR_SIGNED_INPUTS = {"z-plus"}
KINK = 0.02  # one unit on the other side of its ReLU, in float32
CANCELLING = {"alpha-beta": 0.2}  # z⁻ = z − z⁺ of units with hardly a negative contribution


def run(*command):
    done = subprocess.run(
        [sys.executable, *command], cwd=BENCHMARKS.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def read_table(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    names, _, *body = lines
    return [dict(zip(names, cells, strict=True)) for cells in body if len(cells) == len(names)]


@pytest.fixture(scope="module")
def engine_output():
    return run("benchmarks/engine.py", "--quick", "--rounds", "1")


def test_every_network_and_method_has_a_line(engine_output):
    titles = re.findall(r"\| \*\*(\S+?),? .*?\*\*", engine_output)
    assert titles == TITLES + WITH_MAPS
    keys = [line["method"] for line in read_table(engine_output)]
    assert keys.count(ON_DIGITS_ALONE) == 1
    keys.remove(ON_DIGITS_ALONE)
    assert keys == keys[:ROWS] * len(TITLES) + MAP_ROWS * len(WITH_MAPS)
    assert len(set(keys)) == ROWS


def test_all_methods_of_the_package_are_measured():
    source = (BENCHMARKS / "rows.py").read_text(encoding="utf-8")
    for method in METHODS:
        assert (f" {method.__name__}(" in source) != (method in WITHOUT_A_ROW), method


def test_a_method_without_a_row_says_why_truly():
    base = {Gradient: Gradient, SmoothGradSquared: SmoothGrad, VarGrad: SmoothGrad}
    base |= {CAM: ActivationMap, GradCAMPlusPlus: GradientMap, GuidedGradCAM: GradCAM}
    assert all(issubclass(each, base[each]) for each in WITHOUT_A_ROW)
    assert issubclass(Saliency, Gradient)


def test_cells_are_positive_ratios(engine_output):
    for line in read_table(engine_output):
        for name in ("target", "time", "first call", "memory"):
            assert re.fullmatch(r"\d+\.\d\d", line[name]), (line["method"], name)
            assert float(line[name]) > 0
        has_captum = line["method"] not in WITHOUT_CAPTUM
        for name in ("time, Captum", "memory, Captum", "error, Captum"):
            assert (line[name] != "–") == has_captum
        missed = line["met"].removeprefix("no: ").split(", ")
        assert ("time" in missed) == (float(line["time"]) > float(line["target"]))
        assert ("memory" in missed) == (float(line["memory"]) > 1.3)


def test_what_is_timed_agrees_with_the_reference(engine_output):
    lines = [line for line in read_table(engine_output) if line["method"] != ON_DIGITS_ALONE]
    for number, line in enumerate(lines):
        key, is_signed = line["method"], number // ROWS == TITLES.index("EfficientNet-lite0-shaped")
        assert float(line["error"]) < (CANCELLING.get(key, KINK) if is_signed else KINK), line
        other = WITHOUT_CAPTUM | MEANT_TO_DIFFER
        if key not in (other | NOT_FOR_SIGNED_INPUTS if is_signed else other):
            assert float(line["error, Captum"]) < KINK, line


def test_importing_the_package_loads_no_widget_package():
    torch_alone, ours = read_table(run("benchmarks/startup.py", "--rounds", "1"))
    assert torch_alone["program"] == "import torch"
    assert ours["program"] == "import torch, nni_widgets"
    assert float(ours["seconds"]) > 0
    assert ours["widget packages loaded"] == "none"


def test_the_widget_packages_are_noticed_if_they_are_loaded():
    source = (BENCHMARKS / "startup.py").read_text(encoding="utf-8")
    program = f"{source.partition('def main')[0]}\nprint(run('import traitlets')[1])"
    assert run("-c", program).strip() == "['traitlets']"


def test_images_are_made_and_timed():
    lines = read_table(run("benchmarks/synthesis.py", "--runs", "1", "--only", "prototype, L2"))
    assert [line["what is made"] for line in lines] == ["prototype, L2 to the class mean"]
    assert all(float(line["whole, s"]) > float(line["first frame, s"]) >= 0 for line in lines)
