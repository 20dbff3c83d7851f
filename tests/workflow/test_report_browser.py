"""The report in a real browser: quiet console, pictures, filters, keyboard, phone."""

import shutil
import time

import pytest

from tests.unit.report.fake_study import fake_report
from workflow_scripts.common.targets import load_targets, numbered

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",
]
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return fake_report(tmp_path_factory.mktemp("study"), full=True)


@pytest.fixture
def browser(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser: install the packages chromium and chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,900"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def visible(browser, selector):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])]"
        ".filter(e => e.checkVisibility()).map(e => e.id)",
        selector,
    )


def choose(browser, field, value):
    browser.execute_script(
        "const f = document.getElementById(arguments[0]); f.value = arguments[1];"
        "f.dispatchEvent(new Event('input', {bubbles: true}))",
        f"f-{field}",
        value,
    )


def wait(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the page did not get there"
        time.sleep(0.05)


def no_overflow(browser):
    return browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_desktop(browser, report):
    browser.get((report / "index.html").as_uri())
    assert no_overflow(browser)
    browser.execute_script("for (const i of document.images) i.loading = 'eager'")
    pictures = "[...document.images].filter(i => i.hasAttribute('src'))"
    wait(lambda: browser.execute_script(f"return {pictures}.every(i => i.complete)"))
    widths = browser.execute_script(f"return {pictures}.map(i => i.naturalWidth)")
    # every target that computes something, and the losses of the trainings
    assert len(widths) == len(numbered(load_targets())) + 1
    assert all(widths)

    # filters
    assert len(visible(browser, ".claims tbody tr")) == 154
    choose(browser, "figure", "fig2d")
    assert visible(browser, ".claims tbody tr") == ["C020", "C021", "C027"]
    assert visible(browser, ".card") == ["fig2d"]
    choose(browser, "text", "SPREAD")
    assert visible(browser, ".claims tbody tr") == ["C027"]
    browser.find_element("css selector", "button[type=reset]").click()
    wait(lambda: len(visible(browser, ".claims tbody tr")) == 154)
    choose(browser, "cohort", "meyer2025")
    choose(browser, "model", "ratio_cd4")
    assert visible(browser, ".claims tbody tr") == ["C108"]
    assert "1 of 154 statements" in browser.find_element("id", "found").text
    choose(browser, "model", "kronos")
    assert visible(browser, ".claims tbody tr") == []
    assert "No statement fits" in browser.find_element("css selector", "#statements .empty").text
    browser.execute_script("document.querySelector('[data-set-verdict=close]').click()")
    rows = browser.find_elements("css selector", ".claims tbody tr:not([hidden])")
    assert rows
    assert {row.get_attribute("data-verdicts") for row in rows} == {"|close|"}

    # a link to a figure leads there, whatever the filter hides
    for link in (".claims tbody td a[href='#fig2d']", ".scored a[href='#fig3b']"):
        choose(browser, "figure", "fig2d" if "claims" in link else "fig2a")
        browser.execute_script("document.querySelector(arguments[0]).click()", link)
        assert len(visible(browser, ".card")) == 71, link

    # a picture opens large, by keyboard too
    browser.find_element("css selector", "button[type=reset]").click()
    wait(lambda: len(visible(browser, ".card")) == 71)
    browser.execute_script("document.querySelector('#fig2a .picture').focus()")
    keys = browser.switch_to.active_element
    keys.send_keys("\ue007")  # enter
    viewer = browser.find_element("id", "viewer")
    wait(lambda: viewer.get_attribute("open") is not None)
    assert viewer.find_element("tag name", "img").get_attribute("src").endswith("fig2a.png")
    browser.switch_to.active_element.send_keys("\ue014")  # right
    assert viewer.find_element("tag name", "img").get_attribute("src").endswith("fig2b.png")
    browser.switch_to.active_element.send_keys("\ue00c")  # escape
    wait(lambda: viewer.get_attribute("open") is None)

    errors = [line for line in browser.get_log("browser") if line["level"] != "INFO"]
    assert errors == []
    requests = [
        line["message"]
        for line in browser.get_log("performance")
        if "Network.requestWillBeSent" in line["message"]
    ]
    assert requests
    assert not [line for line in requests if '"url":"http' in line]


def test_phone(browser, report):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get((report / "index.html").as_uri())
    assert browser.execute_script("return innerWidth") == 390
    assert no_overflow(browser)
    wide = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() &&"
        " !e.closest('.room, pre, dialog') && e.getBoundingClientRect().right > 391)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == []
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert no_overflow(browser)
