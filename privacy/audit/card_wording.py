"""The fixed texts of the privacy card: questions to people, statements on a plan, and limits."""

from collections.abc import Mapping
from typing import Any

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Mode, Unit
from privacy.accounting.plan import PrivacyPlan

ABOUT_FIELDS: Mapping[str, str] = {
    "title": "What is this deployment called?",
    "purpose": "What is the processing for?",
    "intended_use": "What may the trained model be used for, and by whom?",
    "controllers": "Who decides on purposes and means, with name and address?",
    "contact": "Who answers questions about privacy, and how are they reached?",
    "lawful_basis": "On which lawful basis is personal data processed?",
    "data_description": "Which personal data are they, how were they collected, and when?",
    "data_subjects": "Whose data are they, and do they include children or dependent people?",
    "special_categories": "Are data among them that need special protection, such as health?",
    "recipients": "Who receives the model, the reports and the ledgers?",
    "transfers": "In which countries are servers and recipients?",
    "retention": "How long are records, ledgers and models kept, and who deletes them?",
    "release_policy": "Who may see or use the published model, and under which terms?",
    "publication_date": "When was the model published?",
    "necessity": "Why can the purpose not be reached with less data or with none?",
    "data_subject_rights": "How are people told, and how do they object, see or erase data?",
    "rationale": "Why are this epsilon, this delta and this unit the right ones here?",
    "tuning": "Which settings were chosen by looking at data, and how was that paid for?",
    "dpo_opinion": "What does the data protection officer say?",
    "data_subject_views": "What do the people concerned, or who speaks for them, say?",
    "residual_risk": "Which risk remains, and who has accepted it?",
    "provider": "Who provides the system, under the AI Act?",
    "system_version": "Which version of the system is this, and which came before?",
    "hardware": "On which hardware does it run, and what else does it work with?",
    "instructions": "Which instructions does the deployer get?",
    "human_oversight": "How do people oversee the system and step in?",
    "data_governance": "How were data selected, labelled, cleaned and examined for bias?",
    "risk_management": "How are risks found, judged and reduced over the life of the system?",
    "changes": "What did the provider change over the life of the system?",
    "standards": "Which harmonised standards or other specifications were applied?",
    "declaration_of_conformity": "Where is the declaration of conformity?",
    "post_market_plan": "How is the system watched once it is in use?",
}
"""Fields that only people can state: each name with the question it answers."""

_BY = {
    "dpo_opinion": "the data protection officer",
    "tuning": "whoever chose the settings",
    "rationale": "whoever set the budgets",
}

_PROVIDER = "provider system_version hardware instructions human_oversight data_governance "

_PROVIDER += "risk_management changes standards declaration_of_conformity post_market_plan"

NOT_COVERED = (
    "Tuning: settings chosen by looking at data cost privacy that no ledger here has counted.",
    "Evaluation: whatever is computed from a group's records without noise: its scores, what they "
    "differ by from others, which of its questions were asked, how many records it has. Only extra "
    "coordinates of a noised vector are covered. The result of a simulation names its figures of "
    "this kind.",
    "Group sizes: the number of units a plan and a ledger declare is public.",
    "Group names, and which groups took part in which round, are public.",
    "Public checkpoints: whatever a model had been trained on before this run is outside the "
    "guarantee.",
    "Timing: batches are padded to a fixed size, but how long a computer takes, its energy and its "
    "network are not part of the proof.",
    "Context at inference: answers shown to the finished model so that it predicts others are not "
    "protected by training.",
    "Malicious inputs: a group may send any vector within its bounds; that can spoil the model, "
    "and no proof here prevents it.",
    "People in several groups: somebody whose data lie with m groups is protected by each budget "
    "alone, and pays m times.",
    "A group's own computers: whoever controls them sees that group's data.",
)
"""Limits of the guarantee."""

NOT_COVERED_BY_TALLIES = (
    "The questionnaire: which questions a group asks, with which options, is public, and was not "
    "protected when it was chosen.",
    "Answers beyond the most that are counted of a person are in no tally, and neither are persons "
    "beyond a group's bound; the bounds themselves are public.",
)
"""Limits besides, where answers are counted once."""


RESTS_ON: Mapping[str, str] = {
    "about": "what people state; no file shows it",
    "groups": "computed from the ledgers that the groups signed: budgets, spends and refusals; the "
    "number of units, the fingerprints and the code are each group's own word",
    "runs": "plans as they stand in the ledgers, each with the epsilon that libraries of this "
    "review compute; what was charged is from the groups' ledgers",
    "runs.round_log": "the server's word, as far as the checks do not show more: how rounds ended, "
    "why, who was in them, which models they began from and left, and what was published",
    "runs.accountant_version": "result.json of the run, signed by nobody",
    "runs.starts": "result.json of the run, signed by nobody; the digest of the model alone stands "
    "in the ledgers",
    "utility": "result.json of the run, signed by nobody and measured by no review",
    "simulated": "whether a result.json was handed in, which only a simulation leaves",
    "empirical": "whoever ran the canary audit; no review of files repeats it",
    "hashes": "digests of what was handed in; the configuration is signed by nobody",
    "verification": "each check says what it rests on",
}
"""What each part of a card rests on."""

TALLIES_REST_ON: Mapping[str, str] = {
    "runs.tally": "plans as they stand in the ledgers; a questionnaire is named by its digest, and "
    "stands whole in the file of its tally",
    "groups.tallies": "computed from the ledgers that the groups signed; the counts themselves are "
    "in no ledger, and their files are private by themselves",
}
"""The same of what is there only where answers are counted once."""


_RANDOMNESS = "AES-256 in counter mode, keyed by the operating system; no seed can be set."
_COUNTED = (
    "The answers to a public questionnaire are counted once, in integers, and discrete Gaussian "
    "noise is added to every count; all rounds are computed from the noised counts."
)
_PAIRS = (
    "No sum: groups meet in pairs and hand each other their models, encrypted from end to end; the "
    "server relays and reads none."
)


def plan_statements(
    plan: PrivacyPlan | None, secure: bool | None, groups: int, *, pairs: bool = False
) -> dict[str, str | None]:
    """The meaning of a plan, a sentence or two for each question; None where there is no plan."""
    names = (
        "mechanism noise_added sampling_in_words contribution_cap protocol randomness trust_model "
        "colluding_threshold"
    ).split()
    if plan is None:
        return dict.fromkeys(names)
    sums = {
        True: "Sums under secure aggregation: pairwise masks, secrets shared among the groups.",
        False: "Plain sums: the server receives the vector of every group.",
        None: None,
    }
    if plan.counts is not None:
        return dict(
            zip(
                names,
                (
                    _COUNTED,
                    "By every group in full, on its own computer, once, before anything is "
                    "trained.",
                    None,
                    _counts_of_one(plan),
                    _PAIRS if pairs else sums[secure],
                    _RANDOMNESS,
                    *_trust(plan, secure, groups),
                ),
                strict=True,
            )
        )
    statements = (
        "Discrete Gaussian noise on integer vectors, one vector of bounded L2 norm for each unit.",
        _noise(plan),
        _sampling(plan),
        _contribution(plan),
        _PAIRS if pairs else sums[secure],
        _RANDOMNESS,
        *_trust(plan, secure, groups),
    )
    return dict(zip(names, statements, strict=True))


def tally_statements(plan: PrivacyPlan) -> dict[str, str]:
    """What is public of counts, what neighbours are, and what costs nothing, in words."""
    return {
        "neighbours": _neighbours(plan),
        "public": "The questionnaire of each group, the most answers and the largest weight that "
        "count, and each group's bound on its persons: as they were stated, and not protected.",
        "post_processing": "All that is computed from the noised counts costs nothing: rounds, "
        "however many, further runs, tuning, early stopping, and measures on the noised counts.",
    }


def _neighbours(plan: PrivacyPlan) -> str:
    if plan.relation is NeighboringRelation.REPLACE_ONE:
        return (
            "Only distributions of many persons' answers are known, so the number of persons is "
            "public: neighbours differ in what one person has answered."
        )
    if plan.unit is Unit.RESPONDENT:
        return (
            "A person is a respondent of a group with all their answers: neighbours differ in one "
            "person being there or not."
        )
    return "Neighbours differ in one answer being there or not."


def _counts_of_one(plan: PrivacyPlan) -> str:
    """What one person adds to counts, or changes in them, at most."""
    if plan.counts is None:
        raise ValueError("the plan counts no answers; give that of a tally")
    answers, weight = plan.counts.answers_per_respondent, plan.counts.largest_weight
    if plan.relation is NeighboringRelation.REPLACE_ONE:
        return (
            f"Another answer of one person to at most {answers} questions, each of at most weight "
            f"{weight:g}, moves all counts by an L2 norm of at most S steps, roundings included."
        )
    if plan.unit is Unit.RECORD:
        return (
            f"Every answer counts with a weight of at most {weight:g}. A person with several "
            "answers is not protected as a whole."
        )
    return (
        f"At most {answers} answers of a respondent are counted, which of more is drawn, each with "
        f"a weight of at most {weight:g}: one respondent moves all counts by an L2 norm of at most "
        f"{plan.clipping_norm:g} answers."
    )


def _noise(plan: PrivacyPlan) -> str:
    if plan.mode is Mode.LOCAL:
        return "By every group in full, on its own computer, before anything is sent."
    return (
        f"By every group, one share each, on its own computer; {plan.honest_shares} honest shares "
        "together are the noise that is accounted for."
    )


def _sampling(plan: PrivacyPlan) -> str:
    nobody = " (all of them: sampling hides nobody)" if plan.sampling_rate == 1 else ""
    rate = f"with probability {plan.sampling_rate:g}"
    return f"Poisson: every unit joins each step independently {rate}{nobody}."


def _contribution(plan: PrivacyPlan) -> str:
    bound = f"each {plan.unit} moves a step by an L2 norm of at most C = {plan.clipping_norm:g}."
    if plan.unit is Unit.RESPONDENT:
        return f"The records of one respondent are summed first: {bound}"
    return f"Every record: {bound} A person with several records is not protected as a whole."


def _trust(plan: PrivacyPlan, secure: bool | None, groups: int) -> tuple[str, str]:
    """Whom the people in the data have to trust, and how many groups may betray them."""
    if plan.mode is Mode.LOCAL:
        hidden = "Secure aggregation hides the single vectors besides. " if secure else ""
        return (
            "Nobody but one's own group is trusted: each group adds all the noise itself, so the "
            f"guarantee holds against the server and all other groups together. {hidden}".strip(),
            f"All {groups - 1} other groups and the server may work together.",
        )
    if secure:
        return (
            "The server is not trusted: it learns the noised sums, who was in them, and when "
            "messages came, and no group's own vector. One's own group is trusted, and enough of "
            "the others to add their share of the noise and to keep their secrets.",
            f"Up to {plan.colluding} of {groups} groups may work together with the server; with "
            "more of them, the epsilon of the plan no longer holds.",
        )
    if secure is None:
        return (
            "Not known: each group adds a share of the noise only, and no server ledger shows "
            "whether the server could read the vectors one by one.",
            f"The plan assumes at most {plan.colluding} of {groups} groups; whether the sums were "
            "secure is not known.",
        )
    return (
        "The server is trusted with every group's vector, which carries a share of the noise only. "
        "The epsilon of the plan holds for whoever sees the sums and the model, not against the "
        "server.",
        f"The server must be honest; up to {plan.colluding} of {groups} groups may look at the "
        "sums together.",
    )


def blanks_of(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """The blanks of a card: what nobody has stated and nothing has shown, and who could."""
    blanks = [
        {
            "field": name,
            "by": "the provider" if name in _PROVIDER.split() else _BY.get(name, "the controllers"),
            "question": ABOUT_FIELDS[name],
        }
        for name, value in card["about"].items()
        if value is None
    ]
    runs, utility = card["runs"], card["utility"]
    asked = {
        "empirical": (card["empirical"], "whoever runs a canary audit", _CANARIES),
        "utility": (utility, "whoever trained the model", "How well does it predict each group?"),
        "utility.intervals": (None, "whoever trained the model", "How far do the scores move?"),
        "server": (card["server"], "the server", "What does the server ledger show?"),
        "hashes.config": (card["hashes"]["config"], "the server", "Which configuration was run?"),
        "hashes.code": (card["hashes"]["code"], "the groups", "Which code was run?"),
        "runs": (runs, "the groups", "Which runs were planned?"),
    }
    for run in runs:
        for name, question in _RUN_QUESTIONS.items():
            asked[f"runs.{run['run']}.{name}"] = (run[name], "the server", question)
    for group in card["groups"]:
        for data in group["datasets"]:
            field = f"groups.{group['name']}.{data['fingerprint'][:16]}.budget"
            asked[field] = (data["budget"], "the group", "What may be spent on these data?")
    return blanks + [
        {"field": field, "by": by, "question": question}
        for field, (value, by, question) in asked.items()
        if value is None or value == []
    ]


_CANARIES = "Which epsilon does an attack on the running code prove at least?"

_RUN_QUESTIONS = {
    "epsilon": "Which plan was run?",
    "accountant_version": "Which version of the accountant computed epsilon?",
    "secure_aggregation": "Could the server read the vectors of single groups?",
    "threshold": "How many groups must keep their secrets for a sum to stay one?",
    "round_log": "Which rounds were summed, which were lost, and who dropped out?",
    "published": "Which model was published?",
}
