"""``fedaccord plan``: the reference figures, the promise in words, refusals and the picture."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text
from PIL import Image

import experiments.planning.forecast
from experiments.planning.cli import promise
from experiments.planning.forecast import (
    EPSILONS,
    default_dimension,
    fewer_shares,
    kernel_seconds_per_round,
    other_plans,
    shorter_plans,
)
from experiments.planning.picture import draw_plan
from experiments.report.canvas import DPI, WIDTH, Canvas
from privacy.accounting.accountant import pld_epsilon
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from strategies.registry import known

Command = Callable[..., Any]

FLAGS = {
    "epsilon": 4.0,
    "delta": 1e-5,
    "groups": 10,
    "units": 2000,
    "sampling-rate": 0.064,
    "rounds": 200,
    "survivors": 6,
    "colluding": 0,
    "dimension": 100_000,
}


@pytest.fixture
def plan(command: Command) -> Command:
    """Run ``fedaccord plan`` on the reference flags, changed: ``plan("--quick", epsilon=2)``."""

    def call(*more: object, **changes: object) -> Any:
        given = {**FLAGS, **{name.replace("_", "-"): value for name, value in changes.items()}}
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        return command("plan", *words, *more)

    return call


def terms(**changes: Any) -> PrivacyTerms:
    given = {name.replace("-", "_"): value for name, value in FLAGS.items()}
    given["units_per_group"] = given.pop("units")
    return PrivacyTerms(**{"clipping_norm": 1.0, **given, **changes})


@pytest.fixture(scope="module")
def calibrated() -> PrivacyPlan:
    return PrivacyPlan.calibrate(terms())


class TestFigures:
    @pytest.mark.parametrize(
        ("epsilon", "noise_multiplier", "noise", "sensitivity", "k", "bits"),
        [
            (2, 2.036, 2.05e-3, 78_855, 15, 28),
            (4, 1.273, 1.28e-3, 126_130, 14, 28),
            (8, 0.880, 8.9e-4, 182_324, 13, 27),
        ],
    )
    def test_the_reference_table(
        self,
        plan: Command,
        epsilon: float,
        noise_multiplier: float,
        noise: float,
        sensitivity: int,
        k: int,
        bits: int,
    ) -> None:
        """The table has S at k = 16; every step of k halves it, and saves a bit."""
        outcome = plan("--json", epsilon=epsilon)
        assert (outcome.code, outcome.err) == (0, "")
        figures = json.loads(outcome.out)
        assert figures["noise_multiplier"] == pytest.approx(noise_multiplier, abs=0.003)
        assert figures["noise_std_per_coordinate"] == pytest.approx(noise, rel=0.005)
        assert figures["sensitivity"] == pytest.approx(sensitivity / 2 ** (16 - k), rel=1e-3)
        assert (figures["k"], figures["modulus_bits"], figures["bits_needed"]) == (k, 32, bits)
        assert figures["bytes_up"] == 100_000 * bits // 8
        assert 0 <= epsilon - figures["epsilon_pld"] <= 1e-4 * epsilon
        assert 0 < figures["epsilon_opacus"] - figures["epsilon_pld"] < 0.0125
        assert figures["signal_per_coordinate"] == pytest.approx(1 / math.sqrt(1e5))
        assert figures["noise_to_signal"] == pytest.approx(noise * math.sqrt(1e5), rel=0.005)

    def test_json_holds_the_flags_and_all_other_plans(
        self, plan: Command, calibrated: PrivacyPlan
    ) -> None:
        figures = json.loads(
            plan("--json", "--alternatives", mode="distributed", clipping_norm=0.5).out
        )
        for name, value in FLAGS.items():
            assert figures[name.replace("-", "_")] == value
        assert (figures["unit"], figures["mode"]) == ("respondent", "distributed")
        assert (figures["local_steps"], figures["clipping_norm"]) == (1, 0.5)
        assert figures["dimension_from"] == "--dimension"
        assert figures["honest_shares"] == 6
        assert figures["bits_needed"] <= figures["modulus_bits"]
        assert figures["batch_cap"] == calibrated.batch_cap(0)
        assert figures["digest"] == replace(calibrated, clipping_norm=0.5).digest()
        assert "dp-accounting" in figures["accountants"]["epsilon_pld"]
        assert "opacus" in figures["accountants"]["epsilon_opacus"]
        assert set(figures["strategies"]) == set(known())
        assert figures["strategies"]["fedadam"] == {"secure": "", "clear": ""}
        assert "a round is one step of all groups" in figures["strategies"]["diloco"]["secure"]
        others = {(row["epsilon"], row["rounds"]): row for row in figures["alternatives"]}
        assert set(others) == {(e, r) for e in EPSILONS for r in (50, 100, 200, 400)}
        assert others[4.0, 200]["noise_multiplier"] == figures["noise_multiplier"]
        assert others[4.0, 200]["noise_std"] == figures["noise_std_per_coordinate"]
        for epsilon in EPSILONS:
            noise = [others[epsilon, rounds]["noise_std"] for rounds in (50, 100, 200, 400)]
            assert all(shorter < longer for shorter, longer in pairwise(noise))
        for rounds in (50, 100, 200, 400):
            noise = [others[epsilon, rounds]["noise_multiplier"] for epsilon in EPSILONS]
            assert all(strict > loose for strict, loose in pairwise(noise))

    def test_shorter_plans_end_with_the_plan_itself(self, calibrated: PrivacyPlan) -> None:
        costs = shorter_plans(calibrated, 3.999)
        rows = list(costs.items())
        assert (rows[0][0], rows[-1]) == (1, (200, 3.999))
        assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(rows))
        half = replace(calibrated.mechanism, steps=100)
        exact = pld_epsilon(half, delta=calibrated.accounted_delta)
        assert costs[100] == pytest.approx(exact, abs=4e-4)

    def test_local_steps_are_charged_one_by_one(self) -> None:
        local = PrivacyPlan.calibrate(terms(mode="local", rounds=50, local_steps=4))
        costs = shorter_plans(local, 4.0)
        quarter = replace(local.mechanism, steps=100)
        assert costs[25] == pytest.approx(
            pld_epsilon(quarter, delta=local.accounted_delta), abs=4e-4
        )
        assert list(fewer_shares(local, 4.0)) == [1]

    def test_fewer_honest_shares_cost_what_clients_refuse(self, calibrated: PrivacyPlan) -> None:
        costs = fewer_shares(calibrated, 4.0)
        assert list(costs) == [1, 2, 3, 4, 5, 6]
        assert costs[4] == pytest.approx(5.74, abs=0.005)
        assert costs[1] == pytest.approx(27.66, abs=0.05)
        assert costs[6] == 4.0

    def test_beyond_any_protection_no_epsilon_is_computed(self) -> None:
        many = PrivacyPlan.calibrate(terms(epsilon=8, groups=30, survivors=20))
        costs = fewer_shares(many, 8.0)
        rows = list(costs.values())
        assert len(rows) <= 12
        assert (min(costs), max(costs)) == (next(iter(costs)), [*costs][-1]) == (1, 20)
        known = [epsilon for epsilon in rows if epsilon is not None]
        assert rows[0] is None
        assert rows[-len(known) :] == known
        assert known[0] > 50 >= known[1]

    def test_a_plan_that_cannot_be_made_says_why(self) -> None:
        said: list[str] = []
        rows = list(other_plans(terms(dimension=4 * 10**10), say=said.append))
        assert said[-1] == "other plans: 16 of 16"
        refused = [row for row in rows if row.refused is not None]
        assert [(row.epsilon, row.rounds) for row in refused] == [(1.0, 400)]
        assert refused[0].noise_std is refused[0].noise_multiplier is None
        assert "lower the dimension" in str(refused[0].refused)

    def test_a_run_of_one_round_has_few_alternatives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(experiments.planning.forecast, "EPSILONS", (4.0,))
        rows = list(other_plans(terms(rounds=1, sampling_rate=1)))
        assert [row.rounds for row in rows] == [1, 2]

    def test_time_grows_with_batch_dimension_and_steps(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(experiments.planning.forecast, "_seconds", lambda _: 0.008)
        local = PrivacyPlan.calibrate(
            terms(mode="local", rounds=50, local_steps=4, dimension=300_000)
        )
        expected = (0.001 * local.batch_cap(0) + 0.008) * 3 * 4
        assert kernel_seconds_per_round(local) == pytest.approx(expected)

    def test_the_kernel_is_really_timed(self, calibrated: PrivacyPlan) -> None:
        assert 1e-4 < kernel_seconds_per_round(calibrated) < 60


class TestDimension:
    def test_it_is_counted_from_the_default_predictor(self) -> None:
        from alignment.config import PredictorConfig
        from alignment.model.predictor import Predictor
        from alignment.model.vector import to_vector

        assert default_dimension() == to_vector(Predictor(PredictorConfig())).size

    def test_the_forecast_says_where_it_comes_from(
        self, command: Command, plan: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(experiments.planning.forecast, "default_dimension", lambda: 1234)
        words = [
            word
            for name, value in FLAGS.items()
            if name != "dimension"
            for word in (f"--{name}", value)
        ]
        figures = json.loads(command("plan", *words, "--quick", "--json").out)
        assert figures["dimension"] == 1234
        assert "default predictor" in figures["dimension_from"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"delta": 1e-4}, "delta = 0.0001"),
            ({"survivors": 11}, "survivors = 11 is above groups = 10"),
            ({"colluding": 6}, "below 1 honest noise share"),
            ({"epsilon": 0}, "epsilon = 0.0"),
            ({"epsilon": "nan"}, "epsilon = nan"),
            ({"sampling_rate": 1.5}, "sampling_rate = 1.5"),
            ({"unit": "household"}, "unit = 'household'"),
            ({"local_steps": 2}, "use mode = 'local'"),
            ({"dimension": 0}, "dimension = 0"),
            ({"dimension": 10**14}, "lower the dimension"),
            ({"out": __file__}, "is a file; give a folder"),
        ],
        ids=str,
    )
    def test_one_line_and_exit_code_2(
        self, plan: Command, changes: dict[str, object], words: str
    ) -> None:
        outcome = plan("--quick", **changes)
        assert (outcome.code, outcome.out) == (2, "")
        assert len(outcome.err.splitlines()) == 1, outcome.err
        assert outcome.err.startswith("error: ")
        assert words in outcome.err

    def test_bad_terms_are_refused_before_anything_is_built(
        self, command: Command, plan: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(experiments.planning.forecast, "default_dimension", lambda: sys.exit(9))
        words = [w for name, value in FLAGS.items() for w in (f"--{name}", value)][:-2]
        assert command("plan", *words, "--unit", "nobody").code == 2

    def test_a_second_opinion_that_disagrees_stops_it(
        self, plan: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(experiments.planning.forecast, "opacus_prv_epsilon", lambda **_: 4.5)
        outcome = plan("--quick", "--json")
        assert (outcome.code, outcome.out) == (1, "")
        assert "AccountantsDisagree" in outcome.err
        assert len(outcome.err.splitlines()) == 1

    def test_unconfirmed_the_second_library_is_not_asked(
        self, plan: Command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            experiments.planning.forecast, "opacus_prv_epsilon", lambda **_: sys.exit(9)
        )
        figures = json.loads(plan("--unconfirmed", "--json").out)
        assert figures["epsilon_opacus"] is None
        assert 3.9996 <= figures["epsilon_pld"] <= 4
        text = " ".join(plan("--unconfirmed").out.split())
        assert "upper bound by a second library not asked" in text

    def test_every_flag_of_the_plan_must_be_given(self, command: Command, plan: Command) -> None:
        assert command("plan", "--epsilon", 4).code == 2


class TestWords:
    def test_promise_then_figures_then_the_picture(self, plan: Command, tmp_path: Path) -> None:
        outcome = plan("--quick", out=tmp_path)
        assert outcome.code == 0
        text = " ".join(outcome.out.split())
        order = [
            "What is promised.",
            "Against whom.",
            "Under which assumptions.",
            "What is not covered.",
            "This plan",
            "Bytes and time",
            "Epsilon against rounds",
            "charged as a whole",
            "Epsilon if sums with less noise were opened",
            "Train with it",
            "Picture:",
        ]
        places = [text.index(each) for each in order]
        assert places == sorted(places)
        assert "Other plans" not in text
        assert "350,000" in text
        assert "70,000,000" in text
        assert "100 2.86" in text
        assert "1 27.65" in text
        assert "estimate" in text

    def test_the_other_plans_are_a_table(self, plan: Command) -> None:
        text = " ".join(plan("--alternatives").out.split())
        assert "rounds epsilon 1 epsilon 2 epsilon 4 epsilon 8" in text
        assert "200 3.557 / 3.59e-3 2.036 / 2.05e-3 1.273 / 1.28e-3 0.880 / 8.88e-4" in text

    def test_progress_goes_to_stderr(self, plan: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes both streams for terminals
        outcome = plan("--quick", "--json")
        assert "timing clipping and noise" in outcome.err
        assert json.loads(outcome.out)["epsilon"] == 4.0

    def test_help_has_an_example(self, command: Command, plan: Command) -> None:
        outcome = command("plan", "--help")
        assert outcome.code == 0
        assert "Example: fedaccord plan --epsilon" in " ".join(outcome.out.split())

    def test_the_promise_names_its_bounds(self, calibrated: PrivacyPlan) -> None:
        text = dict(promise(calibrated))
        assert (
            "every respondent in the data, at most 20,000 in 10 groups" in text["What is promised"]
        )
        assert "54.6" in text["What is promised"]
        assert "at least 6 groups" in text["Under which assumptions"]
        assert "several groups" in text["What is not covered"]

    def test_without_colluders_the_other_groups_are_not_covered(
        self, calibrated: PrivacyPlan
    ) -> None:
        """A group knows its own noise, so h shares do not all protect against it."""
        assert "Not against a group that takes part" in dict(promise(calibrated))["Against whom"]
        one = PrivacyPlan.calibrate(terms(survivors=7, colluding=1))
        against = dict(promise(one))["Against whom"]
        assert "up to 1 group telling" in against
        assert "Not against a group that takes part" not in against

    def test_local_mode_trusts_no_other_group(self) -> None:
        local = PrivacyPlan.calibrate(terms(mode="local", rounds=50, local_steps=4))
        text = dict(promise(local))
        assert "all other groups, even together" in text["Against whom"]
        assert "Secure aggregation" not in text["Under which assumptions"]

    def test_a_record_is_not_a_person(self) -> None:
        text = dict(promise(PrivacyPlan.calibrate(terms(unit="record"))))
        assert "every record" in text["What is promised"]
        assert "several records" in text["What is not covered"]


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Canvas]]:
    """The sheets that were saved."""
    kept: list[Canvas] = []
    save = Canvas.save

    def keep(self: Canvas, path: Path, *, height: float) -> None:
        save(self, path, height=height)
        kept.append(self)

    monkeypatch.setattr(Canvas, "save", keep)
    yield kept


def texts(canvas: Canvas) -> list[Text]:
    """The texts that are painted: ticks beyond an axis exist, but are not."""
    found = list(canvas.figure.texts)
    for axes in canvas.figure.axes:
        found += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklabels(), axis.get_majorticklocs(), strict=True)
            found += [axis.label, *(label for label, place in ticks if low <= place <= high)]
    return [text for text in found if text.get_text().strip()]


class TestPicture:
    def test_it_is_written_into_a_new_folder(self, plan: Command, tmp_path: Path) -> None:
        assert plan("--json", "--alternatives", out=tmp_path / "new" / "folder").code == 0
        with Image.open(tmp_path / "new" / "folder" / "plan.png") as picture:
            assert picture.size[0] == WIDTH * DPI
            assert picture.size[1] > 7 * DPI

    @pytest.mark.parametrize("shares", [(0.4, 0.41, 0.42, 0.43), (1.0, 1.001, 30.0, 31.0)], ids=str)
    @pytest.mark.parametrize("epsilon", [3.8, 8.4, 0.1])
    def test_texts_stay_apart_and_on_the_sheet(
        self,
        plan: Command,
        tmp_path: Path,
        canvases: list[Canvas],
        shares: tuple[float, ...],
        epsilon: float,
    ) -> None:
        """Also where lines end side by side, or near the signal."""
        figures = json.loads(plan("--quick", "--json").out)
        figures["epsilon"] = epsilon
        for row in figures["epsilon_by_rounds"]:
            row["epsilon"] *= epsilon / 4
        signal = figures["signal_per_coordinate"]
        for rounds, share in zip((50, 100, 200, 400), shares, strict=True):
            for each in EPSILONS:
                row = {"epsilon": each, "rounds": rounds, "noise_std": share * signal / each}
                figures["alternatives"].append(row)
        draw_plan(tmp_path / "plan.png", figures)
        width, height = canvases[0].figure.get_size_inches() * DPI
        boxes = [(t.get_text(), t.get_window_extent().padded(-1.5)) for t in texts(canvases[0])]
        assert len(boxes) > 15
        for text, box in boxes:
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
            assert inside, f"{text!r} leaves the sheet"
        for (one, first), (two, second) in combinations(boxes, 2):
            assert not first.overlaps(second), f"{one!r} covers {two!r}"

    def test_it_shows_the_figures(
        self, plan: Command, tmp_path: Path, canvases: list[Canvas]
    ) -> None:
        figures = json.loads(plan("--json", "--alternatives", out=tmp_path).out)
        upper, lower = canvases[0].figure.axes
        curve = upper.lines[0].get_xydata()
        rows = figures["epsilon_by_rounds"]
        assert curve.tolist() == [[row["rounds"], row["epsilon"]] for row in rows]
        own = [
            row["noise_std"] / figures["signal_per_coordinate"]
            for row in figures["alternatives"]
            if row["rounds"] == 200
        ]
        drawn = [line.get_ydata() for line in lower.lines if len(line.get_ydata()) == len(EPSILONS)]
        assert len(drawn) == 4
        assert any(list(line) == pytest.approx(own) for line in drawn)
        words = " ".join(text.get_text() for text in texts(canvases[0]))
        assert "Epsilon 4 for 200 rounds takes noise of 0.41 times the largest signal" in words
        assert "50 rounds" in words

    def test_without_alternatives_one_panel_remains(
        self, plan: Command, tmp_path: Path, canvases: list[Canvas]
    ) -> None:
        figures = json.loads(plan("--quick", "--json").out)
        draw_plan(tmp_path / "plan.png", figures)
        assert len(canvases[0].figure.axes) == 1
