"""The benchmarks run and compare what they time with a reference; no figure of time is tested."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nni_widgets.engine.methods import METHODS, Gradient

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WITHOUT_CAPTUM = {"alpha-beta", "epsilon-gamma-box"}
MEANT_TO_DIFFER = {"gamma", "smoothgrad"}
KINK = 0.02  # one unit on the other side of its ReLU, in float32


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
    assert titles == ["digits-cnn", "VGG-16-shaped", "ResNet-18-shaped"]
    keys = [line["method"] for line in read_table(engine_output)]
    assert len(keys) == 30
    assert keys[:10] == keys[10:20] == keys[20:]
    assert len(set(keys)) == 10


def test_all_methods_of_the_package_are_measured():
    source = (BENCHMARKS / "engine.py").read_text(encoding="utf-8")
    for method in set(METHODS) - {Gradient}:
        assert f"{method.__name__}(" in source


def test_cells_are_positive_ratios(engine_output):
    for line in read_table(engine_output):
        for name in ("target", "time", "first call", "memory"):
            assert re.fullmatch(r"\d+\.\d\d", line[name]), (line["method"], name)
            assert float(line[name]) > 0
        has_captum = line["method"] not in WITHOUT_CAPTUM
        for name in ("time, Captum", "memory, Captum", "error, Captum"):
            assert (line[name] != "–") == has_captum
        assert ("time" in line["met"]) == (float(line["time"]) > float(line["target"]))
        assert ("memory" in line["met"]) == (float(line["memory"]) > 1.3)


def test_what_is_timed_agrees_with_the_reference(engine_output):
    for line in read_table(engine_output):
        assert float(line["error"]) < KINK, line
        if line["method"] not in WITHOUT_CAPTUM | MEANT_TO_DIFFER:
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
