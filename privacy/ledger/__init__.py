"""The budget ledger: what was spent on which data, in a file its owner cannot quietly rewrite.

One JSON Lines file per group, appended to and never changed. Every line names the hash of the line
before it and is signed by the group's `Identity`. A spend is on disk before the function that
reserves it returns, is never refunded, and belongs to the units it was spent on: another run, a
subset, a superset or relabelled data go on from there. Who cannot pay is left out without a word.

The file is shown to others, and so it tells nobody who is in the data: its events depend on runs,
bounds and budgets alone. Whose data they are lies in private files beside it (`People`), without
which its owner cannot use it.

What the file alone cannot show: that lines were cut off its end, or that an older copy was put in
its place. Heads that others keep (`Ledger.countersign`, `known_head`) show that.
"""

from privacy.ledger.facts import Dataset, SpendReceipt
from privacy.ledger.filter import best_order, least_budget
from privacy.ledger.ledger import Ledger

__all__ = ["Dataset", "Ledger", "SpendReceipt", "best_order", "least_budget"]
