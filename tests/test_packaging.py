"""pyproject.toml, constraints.txt, binder/ and the README must not contradict each other."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch-cpu": "torch"}
FROM_CONDA_ALONE = {"python", "pip"}


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    named = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in named}


def binder_requirements():
    lines = yaml.safe_load((ROOT / "binder/environment.yml").read_text())["dependencies"]
    named = [re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in lines]
    return {name: re.sub(r"^=(?!=)", "==", spec) for name, spec in named}


def declared():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in requirements if requirement.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_tested_set_pins_what_the_project_asks_for(requirement):
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_ranges_are_wide():
    assert [str(r) for r in declared() if "==" in str(r.specifier) or "<" in str(r.specifier)] == []


def test_tested_set_is_exact_and_starts_with_torch():
    assert next(iter(pins())) == "torch"
    assert all(re.fullmatch(r"[\d.]+(post\d+)?", version) for version in pins().values())


def test_binder_asks_for_nothing_that_the_tested_set_contradicts():
    wanted = {
        CONDA_NAMES.get(name, name): spec
        for name, spec in binder_requirements().items()
        if name not in FROM_CONDA_ALONE
    }
    assert "torch" in wanted
    wrong = {n: s for n, s in wanted.items() if pins()[n] not in SpecifierSet(s)}
    assert wrong == {}


def test_binder_has_a_python_that_the_project_supports():
    version = binder_requirements()["python"].removeprefix("==")
    assert version in SpecifierSet(PROJECT["requires-python"])


def test_binder_opens_the_first_lesson_at_the_released_tag():
    address = re.search(r"https://mybinder\.org/v2/\S+?(?=\))", (ROOT / "README.md").read_text())
    assert address.group().endswith(
        f"/v{PROJECT['version']}?urlpath=lab/tree/course/00_start_here.ipynb"
    )


def test_what_a_researcher_installs_holds_what_the_readme_loads():
    readme = (ROOT / "README.md").read_text()
    install, snippets = readme.split("## For the researcher")[1].split("```python", 1)
    assert 'models.load("photos")' in snippets
    assert 'pip install ".[photos]"' in install


@pytest.mark.parametrize("script", [".ci/run", "binder/postBuild", "binder/start"])
def test_scripts_can_be_run(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_binder_starts_its_command_with_one_thread():
    start = [ROOT / "binder/start", "printenv", "OMP_NUM_THREADS"]
    assert subprocess.run(start, check=True, capture_output=True, text=True).stdout == "1\n"
