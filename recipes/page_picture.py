"""The picture of the page in docs/: an example is answered in Chromium, and the window is photographed.

grip-vlm page &
.page/bin/python recipes/page_picture.py --url http://127.0.0.1:7860      `make test-page` makes the environment

"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

QUESTION = "Which label does the heart point to?"


@dataclass(frozen=True)
class Picture:
    url: str
    """Of a running page."""
    out: Path = Path("docs/page.png")
    """File for the picture."""
    width: int = 920
    """Pixels."""
    height: int = 880
    """Pixels."""


def main(picture: Picture) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": picture.width, "height": picture.height})
        page.goto(picture.url)
        page.get_by_text(QUESTION, exact=True).first.click()
        page.wait_for_selector("#tokens input[type=range][max='196']")
        page.wait_for_function("text => document.querySelector('#question textarea').value === text", arg=QUESTION)
        page.click("#ask")
        page.wait_for_selector("#pruned-card .cost:has-text('20 of 196')")
        page.evaluate("window.scrollTo(0, 0)")
        page.wait_for_timeout(1000)  # pictures fade in
        page.screenshot(path=picture.out)
        browser.close()


if __name__ == "__main__":
    main(tyro.cli(Picture))
