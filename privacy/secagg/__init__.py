"""Secure aggregation: the server learns the sum of the members' vectors and nothing else of them.

Double masking (Bonawitz et al. 2017, https://eprint.iacr.org/2017/281) with pinned identities and a
consistency round, on a sparse graph where there are many members (Bell et al. 2020,
https://eprint.iacr.org/2020/704). Client and server are pure state machines: bytes in, bytes out.
"""
