"""The checks of a review that need the server ledger: alone, and against the groups' ledgers.

Whatever its owner signs there is its word until something else shows it. So every event must be one
that a server writes, in its place; every party in it must be pinned; and what follows from plans,
terms and advertisements is computed again.
"""
