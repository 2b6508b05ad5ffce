"""Proof of effect as a schema declares it: the words (`declared`), and how they are read and checked (`compiled`).

How proofs are asked is told in `proving`. See docs/effects.md.
"""
