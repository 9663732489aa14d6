"""A headless Chromium for tests of pages; they are skipped where there is none, or no Playwright to drive it."""

import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens an address; a page that asks for anything from elsewhere, or whose script fails, fails the test (with
    faults=False: whose requests fail on purpose, does not).
    """
    found, pages = [], []

    def opened(address, width=1200, scheme="light", faults=True):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        pages.append(context)
        page.on("pageerror", lambda error: found.append(str(error)))
        page.on("console", lambda message: found.append(message.text) if faults and message.type == "error" else None)
        own = address.split("/")[2] if address.startswith("http") else ""
        page.on("request", lambda request: None if _local(request.url, own) else found.append(request.url))
        page.goto(address)
        return page

    yield opened
    for context in pages:
        context.close()
    assert found == []


def _local(url, own):
    return url.startswith(("data:", "file:", "blob:")) or (own and url.split("/")[2] == own)
