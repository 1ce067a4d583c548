"""A page with two VLMs, and Chromium: `make test-page` has both; elsewhere these tests say what is missing."""

import shutil

import pytest
from toolkit.site import reason_to_skip, running

BROWSER = shutil.which("chromium")


def pytest_collection_modifyitems(items):
    reason = reason_to_skip("gradio", "playwright")
    if not reason and BROWSER is None:
        reason = "Chromium is missing: make test-page runs this"
    for item in items:
        if "site" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def site(tmp_path_factory, vlm_dir):
    """The shipped VLM, and one with random weights and no scorer."""
    flags = ["--vlms", f"tiny-llava,{vlm_dir}", "--pruners", "grip,random,fastv"]
    with running(tmp_path_factory.mktemp("site"), ["-m", "grip_vlm.cli", "page", *flags]) as site:
        yield site


@pytest.fixture(scope="session")
def browser(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()
