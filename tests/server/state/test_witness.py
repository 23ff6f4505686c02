"""The witness of a private run keeps all that a witness is told."""

from inspect import isfunction

from server.state.witness import LedgerWitness, Witness


def test_nothing_that_a_witness_is_told_is_dropped_in_silence() -> None:
    """A method that is inherited would keep nothing, and no check would miss it at once."""
    told = {
        name
        for name, member in vars(Witness).items()
        if not name.startswith("_") and (isfunction(member) or isinstance(member, property))
    }
    assert len(told) >= 8
    assert told <= vars(LedgerWitness).keys()
    assert LedgerWitness.signs
    assert not Witness.signs
