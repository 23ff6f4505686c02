"""Errors of the privacy room: one small tree, every leaf names one cause.

Each message is one line that gives the value, the bound it broke and the remedy. Nothing is
released once one of them has been raised.
"""


class PrivacyError(Exception):
    """Base of every error the privacy room raises on purpose."""


class PlanRefused(PrivacyError, ValueError):
    """A privacy plan asks for something that could not be guaranteed."""


class NonPoissonSampling(PlanRefused):
    """Batches that are not Poisson samples: no accountant here covers them."""


class DeltaTooLarge(PlanRefused):
    """Delta is not below one over the number of units it protects."""


class TooFewHonestShares(PlanRefused):
    """Fewer than one noise share would survive dropouts and collusion."""


class CouldWrap(PlanRefused):
    """The sum of a round could leave the range of the modulus."""


class GridTooCoarse(PlanRefused):
    """No permitted noise grid resolves a clipped vector of this dimension."""


class EpsilonExceeded(PlanRefused):
    """The noise of a plan does not reach the epsilon the plan claims."""


class ExecutionMismatch(PrivacyError):
    """A setting about to be executed differs from the one accounted for."""


class TooFewShares(PrivacyError):
    """Fewer noise shares arrived than the epsilon of the plan needs: the sum must not be used."""


class AlreadyCharged(PrivacyError):
    """A round was asked for again, or beyond the steps the plan has charged."""


class AccountingError(PrivacyError):
    """Base of the errors of the accountants."""


class AccountantRefused(AccountingError, ValueError):
    """An accountant that under-reports, or one that does not exist, was asked for."""


class AccountantsDisagree(AccountingError):
    """Two independent accountants differ by more than their stated tolerance."""


class UnsupportedMechanism(AccountingError, ValueError):
    """An accountant was asked about a mechanism it has no theorem for."""


class CalibrationFailed(AccountingError):
    """No noise multiplier in the supported range reaches the epsilon asked for."""


class RandomnessError(PrivacyError):
    """Base of the errors of the cryptographic stream."""


class StreamForked(RandomnessError):
    """A stream was used in a process that did not create it."""


class StreamErased(RandomnessError):
    """A stream was used after its key had been erased."""


class StageSkipped(PrivacyError, TypeError):
    """A vector was moved to a later stage, or out of the process, without the step between."""


class SecaggAbort(PrivacyError):
    """A party of secure aggregation stops: nothing more of this attempt is sent or unmasked."""


class MalformedMessage(SecaggAbort, ValueError):
    """Bytes that are no message of the protocol, or not the one expected."""


class BadSignature(SecaggAbort):
    """A signature is not of the pinned identity of its sender, or not of this payload."""


class Replayed(SecaggAbort):
    """A message of another attempt, or one that was answered before."""


class ThresholdRefused(SecaggAbort):
    """A threshold so low that two views of a round could both be unmasked."""


class PolicyRefused(SecaggAbort):
    """The server asks for something else than the client's own policy and plan permit."""


class TooFewMembers(SecaggAbort):
    """Fewer members are left than the protocol needs to go on."""


class DuplicateKey(SecaggAbort):
    """Two members, or two roles of one, have the same key, or a key hides nothing."""


class BadCiphertext(SecaggAbort):
    """A share was not encrypted for this member in this round by that sender."""


class SurvivorSetRefused(SecaggAbort):
    """A set of members contradicts an earlier one of the same attempt."""


class NoiseShortfall(SecaggAbort):
    """Too few honest shares of noise are in the sum to keep the epsilon of the plan."""


class SplitView(SecaggAbort):
    """Too few members have signed the same set of survivors."""


class BadShares(SecaggAbort):
    """Members gave shares that do not belong to the secret, or dealt such shares; names them.

    Attributes:
        members: whose shares are bad.
    """

    def __init__(self, message: str, *, members: tuple[str, ...]) -> None:
        super().__init__(message)
        self.members = members


class ReconstructionFailed(SecaggAbort):
    """Fewer good shares of a secret arrived than its threshold."""


class LedgerError(PrivacyError):
    """Base of the errors of the budget ledger."""


class LedgerCorrupt(LedgerError):
    """A line of a ledger is not what its owner wrote there.

    Attributes:
        line: the first bad line, counted from 1.
    """

    def __init__(self, message: str, *, line: int) -> None:
        super().__init__(message)
        self.line = line


class LedgerRolledBack(LedgerError):
    """A ledger lacks an event that somebody else has seen in it."""


class LedgerLocked(LedgerError):
    """A ledger is open elsewhere; two writers would each spend what the other has spent."""


class LedgerUnwritable(LedgerError):
    """An event could not be made durable: what it stands for must not happen."""


class LedgerRefused(LedgerError, ValueError):
    """An event a ledger cannot record: it names something unknown, or contradicts earlier ones."""


class BudgetExhausted(LedgerError):
    """A step would cost more than what is left for the data."""


class BudgetRaised(LedgerError):
    """A larger budget was asked for on data that has one: budgets may only shrink."""
