"""The benchmark of secure aggregation: sums are exact, stand-ins change nothing, texts fit."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

import privacy.identity.keys
import privacy.secagg.client
from experiments.benchmarks import secagg
from experiments.benchmarks.harness import Figure, find_picture
from experiments.benchmarks.plots.secagg import draw
from experiments.benchmarks.secagg import CLIENT_MS, SERVER_MS, measure, settings
from experiments.benchmarks.workloads.secagg_attempt import Cost, Setting, attempt
from experiments.report.canvas import DPI, WIDTH, Canvas
from privacy.identity.keys import Roster
from privacy.secagg.agreement import Agreement
from privacy.secagg.graph import degree
from privacy.secagg.server import ServerRound

# --- an attempt


@pytest.mark.parametrize(
    ("setting", "timed"),
    [
        (Setting(members=3, dimension=50), 3),
        (Setting(members=10, dimension=50, dropping=0.1), 9),
        (Setting(members=40, dimension=7, dropping=0.1), 36),
        (Setting(members=40, dimension=50, sample=3), 3),
        # Beyond 64 members the graph is sparse.
        (Setting(members=80, dimension=50, dropping=0.1), 72),
        (Setting(members=80, dimension=50, sample=3), 3),
    ],
    ids=str,
)
def test_an_attempt_ends_in_the_exact_sum_and_times_those_that_did_everything(
    setting: Setting, timed: int
) -> None:
    cost = attempt(setting)
    assert len(cost.members) == timed
    assert min(*cost.members, cost.server) > 0
    mean = sum(cost.members) / timed
    assert cost.one_and_server == pytest.approx(mean + cost.server)


@pytest.mark.parametrize("sample", [None, 2])
def test_a_sum_that_is_not_exact_is_no_measurement(
    monkeypatch: pytest.MonkeyPatch, sample: int | None
) -> None:
    total = ServerRound.total

    def off_by_one(self: ServerRound) -> Any:
        summed, bad = total(self)
        summed[3] += np.uint32(1)
        return summed, bad

    monkeypatch.setattr(ServerRound, "total", off_by_one)
    with pytest.raises(RuntimeError, match="the sum of 4 vectors is not exact"):
        attempt(Setting(members=4, dimension=10, sample=sample))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Signatures that are checked, by kind, and verified; masks of pairs that members make."""
    counts: Counter[str] = Counter()
    check, pair = Roster.check, privacy.secagg.client.pair_mask_key

    def count_check(self: Roster, name: str, signature: bytes, kind: str, *rest: bytes) -> None:
        counts[kind] += 1
        check(self, name, signature, kind, *rest)

    def count_pair(*arguments: bytes) -> bytes:
        counts["pair"] += 1
        return pair(*arguments)

    class Counting:
        @staticmethod
        def from_public_bytes(public: bytes) -> Ed25519PublicKey:
            counts["verified"] += 1
            return Ed25519PublicKey.from_public_bytes(public)

    monkeypatch.setattr(privacy.identity.keys, "Ed25519PublicKey", Counting)
    monkeypatch.setattr(Roster, "check", count_check)
    monkeypatch.setattr(privacy.secagg.client, "pair_mask_key", count_pair)
    return counts


@pytest.mark.parametrize("members", [6, 80])
def test_measured_members_do_everything_and_stand_ins_what_the_server_sees(
    counted: Counter[str], members: int
) -> None:
    sample, needed = 1, 2 * members // 3 + 1
    attempt(Setting(members=members, dimension=10, sample=sample))
    # The server checks every message once; of members, the measured one alone checks others'.
    assert counted["advert"] == members + sample * members
    assert counted["consistency"] == members + sample * needed
    assert counted["shares"] == counted["masked"] == counted["unmask"] == members
    # Each mask with the measured member is made at both ends.
    assert counted["pair"] == 2 * sample * degree(members).neighbours


def test_without_stand_ins_everybody_does_everything(counted: Counter[str]) -> None:
    attempt(Setting(members=6, dimension=10))
    assert counted["advert"] == 6 + 6 * 6
    assert counted["consistency"] == 6 + 6 * 5
    assert counted["pair"] == 6 * 5
    # Nobody is spared a signature because another member of the process has verified it.
    checked = ("advert", "shares", "masked", "consistency", "unmask")
    assert counted["verified"] == sum(counted[kind] for kind in checked)


def test_stand_ins_leave_the_product_as_it_was() -> None:
    before = dict(vars(Agreement))
    attempt(Setting(members=5, dimension=10, sample=2))
    assert dict(vars(Agreement)) == before


def test_stand_ins_and_dropouts_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dropping = 0\.1 with stand-ins"):
        Setting(members=10, dimension=10, dropping=0.1, sample=2)


# --- what is reported


def test_every_size_is_measured_and_dropouts_up_to_200_members() -> None:
    in_turns, once = settings()
    every = [*in_turns, *once]
    sizes = [(each.members, each.dimension) for each in every if not each.dropping]
    assert sorted(sizes) == sorted(product((3, 10, 50, 200, 1000), (10**5, 10**6)))
    dropping = [(each.members, each.dimension) for each in every if each.dropping]
    assert dropping == [(10, 10**5), (50, 10**5), (200, 10**5)]
    assert {each.members for each in once} == {200, 1000}


def test_asked_for_all_members_nobody_stands_in_at_the_smaller_dimension() -> None:
    (usual,) = _largest(settings()[1])
    (whole,) = _largest(settings(all_members=True)[1])
    assert usual.sample == 20
    assert whole.sample is None


def _largest(several: Sequence[Setting]) -> list[Setting]:
    return [each for each in several if (each.members, each.dimension) == (1000, 10**5)]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What is reported where a member takes 10 or 30 ms and the server 50 ms, whatever is asked.

    A training round takes 1.4 s, a round of the head alone 0.1 s and a private round 0.7 s.
    """
    taken = {"round": 1.4, "head": 0.1, "private": 0.7}

    def in_turns(functions: Mapping[str, Callable[[], object]], **_: Any) -> dict[str, np.ndarray]:
        for _turn in range(4):
            for name, function in functions.items():
                if name not in taken:
                    function()
        return {name: np.full(3, taken.get(name, 0.0)) for name in functions}

    monkeypatch.setattr(secagg, "interleave", in_turns)
    monkeypatch.setattr(secagg, "private_step", lambda *_, **__: None)
    monkeypatch.setattr(secagg, "attempt", lambda _, **__: Cost(members=(0.01, 0.03), server=0.05))
    return list(measure())


def test_share_of_round_is_a_member_and_the_server_over_the_round(figures: list[Figure]) -> None:
    shares = {each.key: each for each in figures if each.unit == "%"}
    assert {key: each.value for key, each in shares.items()} == pytest.approx(
        {
            "share_of_round": 100 * 0.07 / 1.4,
            "share_of_mean_round": 100 * 0.07 / ((40 * 0.1 + 40 * 1.4) / 80),
            "share_of_head_round": 100 * 0.07 / 0.1,
            "share_of_private_round": 100 * 0.07 / 0.7,
        }
    )
    goals = {key: each.goal for key, each in shares.items() if each.goal}
    assert list(goals) == ["share_of_round"]
    assert goals["share_of_round"].sense == "at most"
    assert goals["share_of_round"].bound == 5
    # Four turns, and the first does not count.
    assert {each.samples for each in shares.values()} == {3}


def test_figures_say_where_they_belong(figures: list[Figure]) -> None:
    member, server = (
        next(each for each in figures if each.name == f"{who}, n = 10, d = 1e5, 10 % drop")
        for who in ("client", "server")
    )
    assert member.at == server.at == {"members": 10, "dimension": 10**5, "dropping": 0.1}
    assert (member.key, member.value, member.samples) == (CLIENT_MS, 20, 6)
    assert (server.key, server.value, server.samples) == (SERVER_MS, 50, 3)
    (largest,) = [each for each in figures if each.name == "client, n = 1000, d = 1e6"]
    assert largest.samples == 2
    (peak,) = [each for each in figures if each.key == "peak_memory_gb"]
    assert 0.05 < peak.value < 50
    assert peak.goal is not None


# --- the picture


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Canvas]]:
    """The sheets that were saved."""
    saved: list[Canvas] = []
    save = Canvas.save

    def keep(self: Canvas, path: Path, *, height: float) -> None:
        save(self, path, height=height)
        saved.append(self)

    monkeypatch.setattr(Canvas, "save", keep)
    yield saved


def series(ms: Callable[[str, int, int], float]) -> list[Figure]:
    every = [each for part in settings() for each in part]
    return [
        Figure.of(
            f"{key} {each}",
            [ms(key, each.members, each.dimension) * (1 + each.dropping)],
            "ms",
            key=key,
            at={
                "members": each.members,
                "dimension": each.dimension,
                "dropping": each.dropping,
            },
        )
        for key in (CLIENT_MS, SERVER_MS)
        for each in every
    ]


def usual(key: str, members: int, dimension: int) -> float:
    each = 0.2 * members + 0.4 * dimension / 10**5
    return each if key == CLIENT_MS else members * each / 7


SERIES: dict[str, Callable[[str, int, int], float]] = {
    "usual": usual,
    "fast": lambda *size: usual(*size) / 20,
    "slow": lambda *size: usual(*size) * 300,
    "dimensions alike": lambda key, members, _: usual(key, members, 10**5),
    "all alike": lambda *_: 3.0,
}


def painted(labels: Sequence[Text], places: Sequence[float], limits: Sequence[float]) -> list[Text]:
    low, high = sorted(limits)
    pairs = zip(labels, places, strict=True)
    return [label for label, place in pairs if low <= place <= high]


def texts(canvas: Canvas) -> list[Text]:
    found = list(canvas.figure.texts)
    for axes in canvas.figure.axes:
        found += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            labels, places = axis.get_majorticklabels(), axis.get_majorticklocs()
            found += painted(labels, list(places), list(axis.get_view_interval()))
    return [text for text in found if text.get_text().strip()]


@pytest.mark.parametrize("name", list(SERIES))
def test_the_picture_is_readable_and_every_figure_is_in_it(
    canvases: list[Canvas], tmp_path: Path, name: str
) -> None:
    figures = series(SERIES[name])
    draw([Figure.of("another", [1.0], "x"), *figures], tmp_path / "growth.png")
    (canvas,) = canvases
    with Image.open(tmp_path / "growth.png") as image:
        assert image.width == round(WIDTH * DPI)
        assert 0.5 < image.height / image.width < 1.2
    _check_texts(canvas)
    panels: list[Axes] = canvas.figure.axes[1:]
    for axes, key in zip(panels, (CLIENT_MS, SERVER_MS), strict=True):
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert axes.get_ylim() == panels[0].get_ylim()
        marks = [
            (x, y)
            for line in axes.get_lines()
            if line.get_marker() in ("o", "s", "x")
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        ]
        assert sorted(marks) == sorted((f.at["members"], f.value) for f in figures if f.key == key)
        low, high = axes.get_ylim()
        assert all(low < y < high for _, y in marks)
    beside = max(text.get_window_extent().x1 for text in panels[0].texts)
    assert beside < panels[1].get_window_extent().x0, "a label reaches into the other panel"


def _check_texts(canvas: Canvas) -> None:
    """No text covers another, none is cut, and none leaves the sheet."""
    width, height = canvas.figure.get_size_inches() * canvas.figure.dpi
    boxes = [(text.get_text(), text.get_window_extent().padded(-1.5)) for text in texts(canvas)]
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} leaves the sheet"
        assert "…" not in text
    for (one, a), (two, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{one!r} covers {two!r}"


def test_the_title_says_what_a_member_of_the_largest_cohort_pays(
    canvases: list[Canvas], tmp_path: Path
) -> None:
    draw(series(usual), tmp_path / "growth.png")
    title = canvases[0].figure.texts[0].get_text()
    assert title == "Of 1,000 members, each pays 200 ms to sum 100,000 numbers"
    ends = {text.get_text() for axes in canvases[0].figure.axes[1:] for text in axes.texts}
    assert ends == {"100,000\n200 ms", "1 million\n200 ms", "100,000\n29 s", "1 million\n29 s"}


def test_figures_without_a_series_are_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no series of secure aggregation"):
        draw([Figure.of("another", [1.0], "x")], tmp_path / "growth.png")
    assert not (tmp_path / "growth.png").exists()


def test_the_command_finds_the_picture() -> None:
    assert find_picture("secagg") is draw
    assert find_picture("bytes") is None
