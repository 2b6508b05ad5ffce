"""Proof of effect: a change is committed and what follows it delivered; has it arrived where users see it?

A field of a schema declares its proofs (`verify`). After the delivery a run (`run`) asks them until all are seen or
their time is over (`watching`): of Postgres by a connection of its own (`database`), of the application (`http`), of
BullMQ (`jobs`). What was found is a `Verdict` (`outcome`), which the ledger keeps (`records`). See docs/effects.md.

Nothing here is imported by a run that has nothing to prove.
"""
