"""What a comparison says of its figures: intervals, rounds to a score, claims, and their words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from experiments.compare.findings import (
    RESAMPLES,
    bootstrap,
    claims,
    difference,
    intervals,
    mean_curve,
    strongest_baseline,
    to_reach,
)
from experiments.compare.report import leads, markdown, reached, verdicts
from experiments.report.wording import bytes_text
from experiments.studies.engine import mean_rows

Row = dict[str, Any]
TARGETS = {"A": 10.0, "B": 30.0, "C": 20.0}
TITLES = {
    "uniform": "uniform",
    "train-mean": "train | mean",
    "gpo": "GPO, one place",
    "pluralllm": "PluralLLM (federated GPO)",
    "fedaccord": "FedAccord",
}


def row(
    method: str,
    groups: Sequence[float],
    *,
    seed: int = 0,
    curve: Mapping[int, float] | None = None,
    sent: float | None = None,
    steps: int | None = None,
) -> Row:
    scores = dict(zip(TARGETS, groups, strict=True))
    weights = np.array(list(TARGETS.values()))
    values = np.array(groups)
    return {
        "method": method,
        "title": TITLES[method],
        "baseline": method != "fedaccord",
        "seed": seed,
        "alignment": float(values @ weights / weights.sum()),
        "seen_questions": 0.8,
        "unseen_questions": None,
        "worst_group": float(values.min()),
        "cov": float(values.std() / values.mean()),
        "log_loss": 1.0,
        "groups": scores,
        "context_swap_drop": 0.01 if method == "fedaccord" else None,
        "parameters": 100,
        "rounds": None if sent is None else 10,
        "bytes_up_per_client_per_round": sent,
        "seconds": 3.0,
        "steps": steps,
        "curve": [{"round": n, "alignment": value} for n, value in (curve or {}).items()],
    }


#: One place, two draws; federated a little worse and slower; ours above both from round 2 on.
ROWS = [
    row("uniform", (0.7, 0.7, 0.7)),
    row("uniform", (0.7, 0.7, 0.7), seed=1),
    row("gpo", (0.80, 0.82, 0.84), steps=60, curve={0: 0.7, 5: 0.80, 10: 0.82}),
    row("gpo", (0.82, 0.80, 0.86), seed=1, steps=60, curve={0: 0.7, 5: 0.82, 10: 0.83}),
    row("pluralllm", (0.78, 0.80, 0.81), sent=1e6, steps=60, curve={0: 0.7, 5: 0.74, 10: 0.80}),
    row(
        "pluralllm", (0.79, 0.79, 0.82), seed=1, sent=1e6, steps=60,
        curve={0: 0.7, 5: 0.76, 10: 0.80},
    ),
    row("fedaccord", (0.85, 0.86, 0.88), sent=2e5, curve={0: 0.7, 1: 0.79, 2: 0.82}),
    row("fedaccord", (0.85, 0.85, 0.89), seed=1, sent=2e5, curve={0: 0.7, 1: 0.80, 2: 0.83}),
]  # fmt: skip


def of(method: str, rows: Sequence[Row] = ROWS) -> dict[int, Row]:
    return {each["seed"]: each for each in rows if each["method"] == method}


def interval_of(method: str, rows: Sequence[Row] = ROWS) -> Row:
    (found,) = (each for each in intervals(rows, TARGETS) if each["method"] == method)
    return found


class TestIntervals:
    def test_an_interval_holds_the_mean_and_lies_within_the_groups(self) -> None:
        for method in ("gpo", "pluralllm", "fedaccord"):
            found = interval_of(method)
            groups = [value for each in of(method).values() for value in each["groups"].values()]
            mean = float(np.mean([each["alignment"] for each in of(method).values()]))
            assert min(groups) <= found["low"] < mean < found["high"] <= max(groups)

    def test_groups_weigh_by_their_targets(self) -> None:
        """The only good group has nearly all targets: without it the mean is hardly ever."""
        rows = [row("uniform", (0.5, 0.9, 0.5))]
        heavy = intervals(rows, {"A": 1.0, "B": 1000.0, "C": 1.0})[0]
        light = intervals(rows, {"A": 1000.0, "B": 1.0, "C": 1000.0})[0]
        assert heavy["high"] == pytest.approx(0.9, abs=1e-3)
        assert light["high"] == pytest.approx(0.9, abs=1e-3) or light["high"] < 0.51
        assert light["low"] == pytest.approx(0.5)

    def test_its_ends_are_those_of_the_normal_distribution_where_there_are_many_groups(
        self,
    ) -> None:
        scores = np.random.default_rng(0).normal(0.8, 0.05, size=400)
        low, high = bootstrap(lambda drawn: drawn @ scores / drawn.sum(axis=1), 400)
        assert low is not None and high is not None
        error = 1.96 * scores.std() / 20
        assert (low, high) == pytest.approx(
            (scores.mean() - error, scores.mean() + error), abs=4e-4
        )

    def test_one_group_tells_nothing_of_others(self) -> None:
        assert bootstrap(lambda drawn: drawn[:, 0], 1) == (None, None)

    def test_it_repeats(self) -> None:
        assert intervals(ROWS, TARGETS) == intervals(ROWS, TARGETS)
        assert RESAMPLES >= 10_000

    def test_the_lead_is_on_the_strongest_baseline_paired_group_by_group(self) -> None:
        assert strongest_baseline(ROWS) == "gpo"
        lead = interval_of("fedaccord")["over_strongest"]
        assert lead["baseline"] == "gpo"
        leads_of_groups = np.array([0.04, 0.045, 0.035])
        assert lead["difference"] == pytest.approx(leads_of_groups @ [10, 30, 20] / 60)
        # Pairing takes out what makes groups differ: the interval is that of the leads.
        assert (lead["low"], lead["high"]) == pytest.approx((0.035, 0.045), abs=1e-3)
        assert interval_of("gpo")["over_strongest"] is None

    def test_draws_that_only_one_of_them_has_are_left_out(self) -> None:
        mine = [row("fedaccord", (0.9, 0.9, 0.9)), row("fedaccord", (0.1, 0.1, 0.1), seed=5)]
        lead = difference(of("fedaccord", mine), of("gpo"), TARGETS)
        assert lead is not None
        assert lead["difference"] == pytest.approx(0.9 - of("gpo")[0]["alignment"])
        assert difference(of("fedaccord", mine[1:]), of("gpo"), TARGETS) is None

    def test_without_a_baseline_there_is_no_lead(self) -> None:
        rows = list(of("fedaccord").values())
        assert strongest_baseline(rows) is None
        assert intervals(rows, TARGETS)[0]["over_strongest"] is None


class TestToReach:
    def test_rounds_and_bytes_to_the_best_of_federated_gpo(self) -> None:
        found = to_reach(ROWS)
        assert found is not None
        assert (found["score"], found["of"]) == (pytest.approx(0.80), "pluralllm")
        theirs, ours = (
            next(each for each in found["methods"] if each["method"] == method)
            for method in ("pluralllm", "fedaccord")
        )
        assert (theirs["round"], theirs["bytes_up_per_client"]) == (10, 1e7)
        # The mean over draws is .795 after one round.
        assert (ours["round"], ours["bytes_up_per_client"]) == (2, 4e5)
        assert (ours["share_of_rounds"], ours["share_of_bytes"]) == pytest.approx((0.2, 0.04))
        # What needs all data in one place sends nothing and has no place here.
        assert {each["method"] for each in found["methods"]} == {"pluralllm", "fedaccord"}

    def test_the_best_may_have_been_before_the_last_round(self) -> None:
        falls = row("pluralllm", (0.7,) * 3, sent=1.0, curve={0: 0.7, 5: 0.85, 10: 0.7})
        found = to_reach([falls])
        assert found is not None
        assert (found["score"], found["methods"][0]["round"]) == (0.85, 5)

    def test_what_is_never_reached_has_no_round(self) -> None:
        low = row("fedaccord", (0.7,) * 3, sent=1.0, curve={0: 0.5, 9: 0.6})
        found = to_reach([*of("pluralllm").values(), low])
        assert found is not None
        assert found["methods"][1] == {
            "method": "fedaccord",
            **dict.fromkeys(("round", "bytes_up_per_client", "share_of_rounds", "share_of_bytes")),
        }

    def test_without_federated_gpo_there_is_nothing_to_reach(self) -> None:
        assert to_reach(list(of("fedaccord").values())) is None

    def test_a_round_counts_where_every_draw_measured_it(self) -> None:
        one = row("fedaccord", (0.7,) * 3, curve={0: 0.5, 1: 0.6, 2: 0.7})
        two = row("fedaccord", (0.7,) * 3, seed=1, curve={0: 0.7, 2: 0.8})
        assert mean_curve({0: one, 1: two}) == [(0, pytest.approx(0.6)), (2, pytest.approx(0.75))]


class TestClaims:
    def verdicts(self, rows: Sequence[Row]) -> dict[str, tuple[bool | None, str]]:
        return {c["claim"]: (c["holds"], c["statement"]) for c in claims(rows, TARGETS)}

    def test_figures_decide_against(self) -> None:
        found = self.verdicts(ROWS)
        assert found["converges faster than"] == (
            False,
            "Federated, .8000, the lower of the two last scores, is first reached after 60 of 60 "
            "steps of each client; in one place after 30 steps: 100% more.",
        )
        holds, statement = found["is better aligned than"]
        assert holds is False
        assert statement.startswith(
            "Federated .8000, in one place .8233: \N{MINUS SIGN}.0233, 95 %"
        )

    def test_and_for(self) -> None:
        """The same figures with their names exchanged."""
        names = {"gpo": "pluralllm", "pluralllm": "gpo"}
        rows = [{**each, "method": names.get(each["method"], each["method"])} for each in ROWS]
        found = self.verdicts(rows)
        assert found["converges faster than"][0] is True
        assert (
            "after 30 of 60 steps of each client; in one place after 60 steps: 50% fewer"
            in (found["converges faster than"][1])
        )
        assert found["is better aligned than"][0] is True

    def test_an_interval_that_holds_nothing_cannot_tell(self) -> None:
        rows = [
            row("gpo", (0.80, 0.82, 0.84), steps=60, curve={0: 0.7, 10: 0.82}),
            row("pluralllm", (0.84, 0.82, 0.80), steps=60, sent=1.0, curve={0: 0.7, 10: 0.82}),
        ]
        assert self.verdicts(rows)["is better aligned than"][0] is None

    def test_fairness_is_the_spread_over_groups(self) -> None:
        even, uneven = (0.80, 0.80, 0.80), (0.60, 0.80, 0.95)
        for federated, gathered, holds in ((even, uneven, True), (uneven, even, False)):
            rows = [
                row("gpo", gathered, steps=60, curve={0: 0.7, 10: 0.8}),
                row("pluralllm", federated, steps=60, sent=1.0, curve={0: 0.7, 10: 0.8}),
            ]
            verdict, statement = self.verdicts(rows)["is nearly as fair as"]
            cov = np.std(federated) / np.mean(federated)
            assert f"groups {cov:.4f}".replace(" 0.", " .") in statement
            assert f"fairness index {1 / (1 + cov**2):.4f} and" in statement
            # Three groups resampled may be one group thrice: without any spread.
            assert verdict is True or (holds is False and verdict is False)

    def test_unequal_steps_are_not_compared(self) -> None:
        rows = [
            row("gpo", (0.8,) * 3, steps=10, curve={0: 0.7, 10: 0.8}),
            row("pluralllm", (0.8,) * 3, steps=60, sent=1.0, curve={0: 0.7, 10: 0.8}),
        ]
        assert self.verdicts(rows)["converges faster than"][0] is None

    def test_what_was_never_measured_is_not_compared(self) -> None:
        rows = [row("gpo", (0.8,) * 3, steps=60), row("pluralllm", (0.8,) * 3, steps=60, sent=1.0)]
        holds, statement = self.verdicts(rows)["converges faster than"]
        assert (holds, statement) == (None, "No round of one of them was measured in every draw.")

    def test_one_of_a_pair_makes_no_claim(self) -> None:
        assert claims(list(of("gpo").values()), TARGETS) == []


def study_of(rows: Sequence[Row], **changes: Any) -> dict[str, Any]:
    figures = [name for name, value in rows[0].items() if not isinstance(value, str | dict | list)]
    figures = [name for name in figures if name not in ("seed", "baseline", "steps")]
    return {
        "runs": len(rows),
        "finished": len(rows),
        "data": "answers.jsonl",
        "split": "split.json",
        "train_groups": 9,
        "held_out_groups": 3,
        "targets": TARGETS,
        "caveats": ["One caveat."],
        "means": mean_rows(rows, by=("method", "title", "baseline"), figures=figures),
        "intervals": intervals(rows, TARGETS),
        "to_reach": to_reach(rows),
        "claims": claims(rows, TARGETS),
        "rows": list(rows),
        **changes,
    }


class TestWords:
    def test_the_table_has_a_row_for_each_method_the_best_first(self) -> None:
        text = markdown(study_of(ROWS))
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert [line.split("|")[1].strip() for line in lines[2:]] == [
            "FedAccord",
            "GPO, one place",
            "PluralLLM (federated GPO)",
            "uniform",
        ]
        assert {line.count("|") for line in lines} == {13}
        first = [cell.strip() for cell in lines[2].split("|")[1:-1]]
        assert first[1] == ".8642 ± .0012"
        assert first[4] == "\N{EN DASH}"
        assert first[7:] == ["+.0100", "100", "10", "200 kB", "3"]
        assert "3 held-out groups, 9 train groups, 2 draws." in text
        assert text.endswith("- One caveat.\n")

    def test_a_bar_in_a_name_does_not_break_the_table(self) -> None:
        lines = markdown(study_of([row("train-mean", (0.7,) * 3)])).splitlines()
        assert any(line.startswith("| train / mean |") for line in lines)

    def test_an_unfinished_comparison_says_so(self) -> None:
        assert "Unfinished: 8 of 9 runs." in markdown(study_of(ROWS, runs=9))
        assert "Unfinished" not in markdown(study_of(ROWS))

    def test_sentences_are_made_of_the_figures(self) -> None:
        study = study_of(ROWS)
        (lead,) = leads(study)
        assert lead.startswith(
            "FedAccord against the strongest baseline (GPO, one place): +.0408, 95 % interval +.03"
        )
        assert reached(study) == [
            "PluralLLM (federated GPO) reaches .8000, the best of PluralLLM (federated GPO), after "
            "10 rounds and 10 MB.",
            "FedAccord reaches .8000, the best of PluralLLM (federated GPO), after 2 rounds and "
            "400 kB: 20 % of its rounds and 4 % of its bytes.",
        ]
        assert [text.partition(":")[0] for text in verdicts(study)] == [
            "PluralLLM (federated GPO) converges faster than GPO, one place",
            "PluralLLM (federated GPO) is better aligned than GPO, one place",
            "PluralLLM (federated GPO) is nearly as fair as GPO, one place",
        ]
        assert "does not hold here. Federated, .8000" in verdicts(study)[0]

    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0 B"), (999, "999 B"), (2_852_872, "2.85 MB"), (285e6, "285 MB"), (5e9, "5 GB"),
         (345_600, "346 kB"), (None, "\N{EN DASH}")],
    )  # fmt: skip
    def test_bytes(self, count: float | None, text: str) -> None:
        assert bytes_text(count) == text
