"""The stated limits of secure aggregation are real: with these parties it protects nobody."""

from typing import Any

from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import ConsistencyRequest
from tests.privacy.secagg.liar import Liar, Lie, edit, without
from tests.privacy.secagg.test_malicious_server import sign_for


def test_more_than_a_third_of_the_members_single_a_vector_out(
    federation: Any, exposed: Any
) -> None:
    """Three of seven sign two sets of survivors: both are unmasked, and differ by one vector."""
    group = federation(7)
    assert group.threshold == consistency_threshold(7) == 5
    colluding, (dropped, *deceived) = list(group.names[4:]), group.names[:3]
    liar = Liar(group)
    split = Lie(
        "split",
        "confirm",
        edit(
            ConsistencyRequest,
            survivors=lambda liar, v, asked: without(asked.survivors, liar.index(dropped, v)),
        ),
    )
    signed = Lie("signed by both", "unmask", sign_for(colluding))
    liar.run([(split, deceived), (signed, list(group.names))])
    (sums,) = exposed(group, colluding).values()
    assert frozenset([dropped]) in sums
