"""A page in a real browser, which tests that need one skip without."""

import shutil
from contextlib import contextmanager

import pytest

OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def chromium():
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def opened(path, *, width=1280, scheme="light", **options):
    """The page, and what its console said, what went wrong in it, and what it asked of the network."""
    browser_path = chromium()
    if browser_path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    from playwright.sync_api import sync_playwright

    complaints = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=[*OPTIONS, "--disable-sync"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: complaints.append(request.url) if request.url[:5] not in ("file:", "data:") else None,
        )
        page.goto(path.as_uri())
        yield page, complaints
        browser.close()
