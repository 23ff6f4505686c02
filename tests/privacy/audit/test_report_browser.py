"""The page of the privacy report in a real browser: it shows the card, and asks for nothing."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from privacy.audit.card import build_card
from privacy.audit.report import write_report
from tests.privacy.audit.test_report import CHECKS, HOSTILE, Federation, federation, plan

__all__ = ["federation", "plan"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]


class Page(HTMLParser):
    """Elements, figures and texts of what the browser has made of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[float] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "data":
            self.figures.append(float(str(dict(attributes)["value"])))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def browse(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    headless = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run")
    quiet = (f"--user-data-dir={profile}", "--enable-logging=stderr", "--log-level=0")
    command = [*headless, *quiet, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def card(federation: Federation) -> dict[str, Any]:
    return build_card(federation.evidence, CHECKS, about={"title": HOSTILE})


def test_the_page_shows_the_card_and_asks_for_nothing(card: dict[str, Any], tmp_path: Path) -> None:
    path = write_report(card, tmp_path / "report")["privacy-report.html"]
    done = browse(path, tmp_path / "profile", "--dump-dom")
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    page = Page(done.stdout)
    datasets = [data for group in card["groups"] for data in group["datasets"]]
    for data in datasets:
        figures = [data["budget"]["epsilon"], data["epsilon_spent"]]
        figures += [entry["left_share"] for entry in data["history"]]
        calm = {entry["left_share"] for entry in data["history"][1:-2]}
        assert set(figures) - calm <= set(page.figures)
        title = f"Budget left of {HOSTILE[:8]}"
        assert title in page.text
    scores = {row["alignment"] for row in card["utility"]["groups"]}
    assert scores <= set(page.figures)
    assert len(page.all("svg")) == len(datasets) == 3
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in page.all("svg"))
    assert not page.all("script")
    assert not page.all("link")
    addresses = [
        str(value)
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "xlink:href")
    ]
    assert addresses
    assert all(address.startswith("#") for address in addresses)
    assert not re.search(r"url\(|@import", path.read_text())


def test_every_region_and_heading_can_be_reached(card: dict[str, Any], tmp_path: Path) -> None:
    path = write_report(card, tmp_path / "report")["privacy-report.html"]
    page = Page(browse(path, tmp_path / "profile", "--dump-dom").stdout)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for named in str(attributes.get("aria-labelledby") or "").split():
            assert named in ids
    for link in page.all("a"):
        assert str(link["href"])[1:] in ids
    wide = [each for each in page.all("div") if each.get("class") == "wide"]
    assert wide
    assert all(each["tabindex"] == "0" and each["role"] == "region" for each in wide)
    assert all("aria-label" in each or "aria-labelledby" in each for each in wide)
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("nav")) == 1
    assert len(page.all("table")) == len(page.all("caption"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_page_is_no_wider_than_a_phone(card: dict[str, Any], tmp_path: Path) -> None:
    """A frame of a phone's width, and a script in it beside the page's own body, measure it."""
    path = write_report(card, tmp_path / "report")["privacy-report.html"]
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    measure = "<script>document.title = 'wide ' + document.documentElement.scrollWidth</script>"
    measured = policy.sub("", path.read_text()).replace("</body>", f"{measure}</body>")
    inner = measured.replace("&", "&amp;").replace('"', "&quot;")
    tell = 'onload="document.title = this.contentDocument.title"'
    frame = f'<iframe style="width: 360px; height: 800px; border: 0" {tell} srcdoc="{inner}">'
    outer = tmp_path / "frame.html"
    outer.write_text(f"<!doctype html><meta charset='utf-8'><title>none</title>{frame}</iframe>")
    dumped = browse(outer, tmp_path / "profile", "--dump-dom").stdout
    width = re.search(r"<title>wide (\d+)</title>", dumped)
    assert width is not None
    assert int(width[1]) <= 360
