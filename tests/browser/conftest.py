"""One JupyterLab and one Chromium for all browser tests; a fresh page for each."""

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.harness import Lab, fresh_page, launch_chromium

expect.set_options(timeout=20_000)  # a busy machine is late, not wrong


def pytest_collection_modifyitems(items):
    """Mark whatever asks for a page as a browser test."""
    for item in items:
        if "page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def lab(tmp_path_factory):
    """A running JupyterLab over a copy of the course."""
    with Lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="package")
def chromium():
    """A running headless Chromium."""
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture
def page(lab, chromium):
    """An empty page that makes the test fail on any error in the browser."""
    with fresh_page(lab, chromium) as page:
        yield page
