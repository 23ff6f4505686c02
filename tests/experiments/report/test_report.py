import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments.report.plots import FAIRNESS, PLOTS_FOLDER, plot_titles
from experiments.report.report import write_report

NASTY = "<script>alert('x')</script>"
DASH = "\N{EN DASH}"
VOID = {"meta", "img", "br", "hr", "link", "input"}
PNG = b"\x89PNG\r\n\x1a\n"


class Page(HTMLParser):
    """A parsed page: tags with attributes, rows of tables, visible texts; refuses bad nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.headings: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            self.rows[-1].append("")
        elif tag in {"h1", "h2", "h3"}:
            self.headings.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if {"th", "td"} & set(self._open):
            self.rows[-1][-1] += data
        if self._open and {"h1", "h2", "h3"} & set(self._open):
            tag, text = self.headings[-1]
            self.headings[-1] = (tag, text + data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def summary(groups: dict[str, float]) -> dict[str, Any]:
    mean = sum(groups.values()) / len(groups)
    return {
        "mean": mean,
        "seen_questions": mean,
        "unseen_questions": None,
        "worst_group": min(groups.values()),
        "cov": 0.034,
        "groups": groups,
    }


@pytest.fixture
def result() -> dict[str, Any]:
    own = {"Harbour": 0.9, NASTY: 0.8}
    return {
        "alignment": {
            "unseen_groups": summary(own),
            "without_context": summary({"Harbour": 0.75, NASTY: 0.81}),
            "swapped_context": summary({"Harbour": 0.7, NASTY: 0.6}),
            "uniform": summary(dict.fromkeys(own, 0.62)),
            "train_groups": summary({"Old <b>quarter</b>": 0.87, "Hill farms": 0.88}),
        },
        "context_swap_drop": 0.2,
        "context_gain": 0.07,
        "rounds": 2,
        "parameters": 347_000,
        "secure_aggregation": False,
        "seed": 7,
        "seconds": {"total": 754.4, "train": 59.94, "secagg": 0.0, "evaluate": 7300.0},
        "bytes": {"up_per_client_per_round": 1_388_123, "down_per_client_per_round": 950},
        "privacy": {
            "mode": "none",
            "unit": None,
            "delta": None,
            "epsilon": None,
            "accountant": None,
            "groups": {},
        },
        "data": {
            "source": "a<b.jsonl",
            "records": 1728,
            "skipped": 3,
            "left_out": {"tie": 2, "single response": 1},
            "train_groups": 2,
            "held_out_groups": 2,
        },
        "versions": {"torch": "2.6.0", "fedaccord": None},
        "config": {"data": NASTY, "federation": {"warmup_rounds": 1}},
    }


ROUNDS = [
    {
        "round": number,
        "rounds": 2,
        "train_adapter": number > 1,
        "groups": 2,
        "dropped": ["Hill farms"] if number == 2 else [],
        "aborted": "",
        "loss": 1.0 if number else None,
        "alignment": 0.6 + 0.1 * number,
        "seconds_train": 1.0,
        "seconds_evaluate": 0.1,
    }
    for number in range(3)
]
PREDICTIONS = [
    {
        "group": group,
        "question_id": "q",
        "question": NASTY,
        "options": ["Yes", "No"],
        "actual": [0.7, 0.3],
        "with_context": [0.6, 0.4],
        "without_context": [0.5, 0.5],
        "seen": True,
    }
    for group in ("Harbour", NASTY)
]


@pytest.fixture
def folder(tmp_path: Path, result: dict[str, Any]) -> Path:
    """A run's folder whose pictures are small stand-ins."""
    (tmp_path / PLOTS_FOLDER).mkdir()
    for name in plot_titles(result, ROUNDS, PREDICTIONS):
        (tmp_path / PLOTS_FOLDER / name).write_bytes(PNG + name.encode())
    return tmp_path


def write(folder: Path, result: dict[str, Any]) -> tuple[str, Page]:
    path = write_report(folder, result, ROUNDS, PREDICTIONS)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_nothing_from_data_becomes_markup(folder: Path, result: dict[str, Any]) -> None:
    text, page = write(folder, result)
    assert not page.of("script")
    assert not page.of("b")
    assert "<script" not in text
    assert NASTY in page.text
    assert "a<b.jsonl" in page.text
    assert any(NASTY in (image["alt"] or "") for image in page.of("img"))


def test_the_page_needs_nothing_but_itself(folder: Path, result: dict[str, Any]) -> None:
    text, page = write(folder, result)
    loading = {"link", "iframe", "object", "embed", "video", "audio", "base", "form", "a"}
    assert not loading & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"href", "srcset", "style", "onclick", "onerror"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
    assert not re.search(r"https?://|url\(|@import", text)
    policies = [tag["content"] for tag in page.of("meta") if "http-equiv" in tag]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_pictures_are_embedded_and_described(folder: Path, result: dict[str, Any]) -> None:
    _, page = write(folder, result)
    titles = plot_titles(result, ROUNDS, PREDICTIONS)
    images = page.of("img")
    assert len(images) == len(titles) == 3
    for (name, title), image in zip(titles.items(), images, strict=True):
        kind, data = (image["src"] or "").split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == PNG + name.encode()
        assert (image["alt"] or "").startswith(f"{title}. ")
        assert title in page.text


def test_missing_pictures_are_drawn(tmp_path: Path, result: dict[str, Any]) -> None:
    _, page = write(tmp_path, result)
    assert len(list((tmp_path / PLOTS_FOLDER).glob("*.png"))) == len(page.of("img")) == 3


def test_headings_and_landmarks_are_in_order(folder: Path, result: dict[str, Any]) -> None:
    _, page = write(folder, result)
    assert [tag for tag, _ in page.headings][:2] == ["h1", "h2"]
    assert [tag for tag, _ in page.headings].count("h1") == 1
    names = [text.strip() for _, text in page.headings]
    assert names[1:] == [
        "In short",
        "⚠\ufe0e Nothing is guaranteed about privacy in this run",
        "Pictures",
        "Held-out groups",
        "Train groups",
        "Privacy",
        "Cost",
        "To repeat this run",
    ]
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.of("main")) == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert labels <= set(ids)


def test_the_summary_tells_the_run_in_words(folder: Path, result: dict[str, Any]) -> None:
    _, page = write(folder, result)
    said = " ".join(page.text.split())
    assert "trained in 2 rounds on the answers of 2 groups" in said
    assert "Left out: 3 invalid rows. Left out: 3 rows without a preference." in said
    assert "with a mean alignment of .850; without them, .780." in said
    assert "Guessing every option alike reaches .620." in said
    assert "The group predicted worst reaches .800" in said
    assert "is 3.4%" in said


def test_choices_are_told_in_words_and_no_context_is_said_to_be_none(
    folder: Path, result: dict[str, Any]
) -> None:
    own = {"accuracy": 0.634, "calibration_error": 0.051, "calibration_error_by_chance": 0.02}
    result["choices"] = {"unseen_groups": own, "uniform": {**own, "accuracy": 0.5}}
    result["data"]["context_answers"] = 0
    _, page = write(folder, result)
    text = " ".join(page.text.split())
    assert "For 63.4% of the questions" in text
    assert "guessing reaches 50.0%" in text
    assert "off by .051 on average, of which .020" in text
    assert "Shown none of such a group's own answers" in text
    assert "another group's answers instead" not in text


@pytest.mark.parametrize(
    ("drop", "verdict"),
    [
        (0.2, "(\N{MINUS SIGN}.200), so the predictor does use whose answers"),
        (0.001, "(\N{MINUS SIGN}.001), so it hardly matters"),
        (-0.1, "(+.100), better than with its own"),
        (None, "could not be measured with one group"),
    ],
)
def test_the_summary_says_whether_it_matters_whose_answers_are_shown(
    folder: Path, result: dict[str, Any], drop: float | None, verdict: str
) -> None:
    result["context_swap_drop"] = drop
    if drop is None:
        result["alignment"]["swapped_context"] = None
    _, page = write(folder, result)
    assert verdict in page.text
    swapped = next(row for row in page.rows if row[0] == "Harbour")[3]
    assert swapped == (DASH if drop is None else ".700")


@pytest.mark.parametrize(
    ("mode", "secure", "reasons"),
    [
        ("none", False, 2),
        ("none", True, 1),
        ("distributed", False, 1),
        ("distributed", True, 0),
        ("local", False, 0),
    ],
)
def test_the_notice_stands_wherever_nothing_is_guaranteed(
    folder: Path, result: dict[str, Any], mode: str, secure: bool, reasons: int
) -> None:
    result["privacy"]["mode"] = mode
    result["secure_aggregation"] = secure
    _, page = write(folder, result)
    notices = [a for tag, a in page.tags if tag == "section" and a.get("class") == "notice"]
    assert len(notices) == (reasons > 0)
    assert ("Nothing is guaranteed about privacy" in page.text) == (mode == "none")
    against_the_server = "does not hold against its server" in page.text
    assert against_the_server == (mode == "distributed" and not secure)
    assert ("used no differential privacy" in page.text) == (mode == "none")
    assert ("without secure aggregation" in page.text) == (not secure and mode != "local")
    assert ["mode", mode] in page.rows
    assert ["secure aggregation", "yes" if secure else "no"] in page.rows


def test_the_tables_hold_every_groups_figures(folder: Path, result: dict[str, Any]) -> None:
    _, page = write(folder, result)
    assert ["Harbour", ".900", ".750", ".700", "+.150"] in page.rows
    assert [NASTY, ".800", ".810", ".600", "\N{MINUS SIGN}.010"] in page.rows
    assert page.rows.index(["Hill farms", ".880"]) < page.rows.index(["Old <b>quarter</b>", ".870"])
    assert ["All questions", ".850", ".780", ".650", "+.070"] in page.rows
    assert ["Questions not in training", DASH, DASH, DASH, ""] in page.rows


def figures() -> dict[str, Any]:
    def side(value: float) -> dict[str, Any]:
        sure = {"value": value, "low": value - 0.01, "high": value + 0.01}
        unsure = {"value": value, "low": None, "high": None}
        keys = ("mean", "best_group", "spread", "standard_deviation", "cov")
        rest = {"worst_group": unsure, "jain_index": {**sure, "value": 0.99941}}
        return {**dict.fromkeys(keys, sure), **rest, "lowest_tenth": None, "groups": {NASTY: sure}}

    return {
        "confidence": 0.95,
        "resamples": 2000,
        "unseen_groups": side(0.83),
        "train_groups": side(0.88),
        "gap": {"value": 0.05, "low": -0.01, "high": 0.09},
    }


def test_fairness_has_a_section_with_its_picture_and_its_figures(
    tmp_path: Path, result: dict[str, Any]
) -> None:
    result["fairness"] = figures()
    text, page = write(tmp_path, result)
    assert not page.of("b") and "<script" not in text
    names = [name.strip() for _, name in page.headings]
    assert names.index("Fairness between groups") == names.index("Pictures") + 1
    assert len(page.of("img")) == 4
    title = plot_titles(result, ROUNDS, PREDICTIONS)[FAIRNESS]
    (image,) = [each for each in page.of("img") if (each["alt"] or "").startswith(title)]
    assert (
        base64.b64decode((image["src"] or "").split(",")[1])
        == (tmp_path / PLOTS_FOLDER / FAIRNESS).read_bytes()
    )
    assert ["Worst group", ".830", DASH, ".880", DASH] in page.rows
    assert ["Spread: best less worst", ".830", ".820 to .840", ".880", ".870 to .890"] in page.rows
    # What is near 1 anyway has a digit more.
    assert ["Jain's fairness index: 1 is even", ".9994"] in [row[:2] for row in page.rows]
    assert not [row for row in page.rows if row and row[0].startswith("Lowest tenth")]
    said = " ".join(page.text.split())
    assert "less that of the held-out groups is +.050 (\N{MINUS SIGN}.010 to +.090)." in said
    assert "intervals at 95%, from 2,000 resamples" in said


def test_a_result_from_before_there_were_intervals_has_no_section_of_them(
    folder: Path, result: dict[str, Any]
) -> None:
    _, page = write(folder, result)
    assert "Fairness" not in " ".join(name for _, name in page.headings)


def test_cost_configuration_and_versions_are_listed(folder: Path, result: dict[str, Any]) -> None:
    _, page = write(folder, result)
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert facts["Trained parameters"] == "347,000"
    assert facts["Rounds in which a group dropped out"] == "1"
    assert facts["Time in all"] == "12 min 34 s"
    assert facts["Time training"] == "59.9 s"
    assert facts["Time measuring"] == "2 h 1 min"
    assert facts["Sent by a client in a round"] == "1.4 MB (1,388,123 bytes)"
    assert facts["Received by a client in a round"] == "950 bytes"
    assert facts["federation.warmup_rounds"] == "1"
    assert facts["data"] == NASTY
    assert facts["torch"] == "2.6.0"
    assert facts["fedaccord"] == facts["epsilon"] == DASH
    assert len(page.of("details")) == len(page.of("summary")) == 2


def test_without_train_figures_their_table_is_left_out(
    folder: Path, result: dict[str, Any]
) -> None:
    result["alignment"]["train_groups"] = None
    _, page = write(folder, result)
    assert "Train groups" not in [text for _, text in page.headings]


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    dark, light = sorted((luminance(one), luminance(two)))
    return (light + 0.05) / (dark + 0.05)


def test_text_stands_out_in_light_in_dark_and_on_paper(
    folder: Path, result: dict[str, Any]
) -> None:
    text, _ = write(folder, result)
    schemes = re.findall(r":root \{([^}]*--paper[^}]*)\}", text)
    assert len(schemes) == 3
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    for scheme in schemes:
        colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", scheme))
        for name in ("ink", "quiet", "accent", "alarm"):
            assert contrast(colors[name], colors["paper"]) >= 4.5, (name, colors)
        assert contrast(colors["alarm"], colors["alarm-paper"]) >= 4.5, colors
