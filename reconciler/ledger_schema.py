"""The DDL of the ledger, version by version, and the grants that go with it.

Takes a connection inside a transaction; `upgrade` brings the schema `reconciler` to VERSION from whatever it is, does
nothing where it is there already, and never touches a table of the platform.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

VERSION = 1

_MIGRATIONS = {
    1: """
CREATE SCHEMA IF NOT EXISTS reconciler;

CREATE TABLE reconciler.meta (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    version     integer NOT NULL,
    upgraded_at timestamptz NOT NULL DEFAULT now(),
    -- Only a demo's database lets `--now` move the clock.
    movable_clock boolean NOT NULL DEFAULT false
);
INSERT INTO reconciler.meta (version) VALUES (1);

-- One row for each run that was committed. The sequence, not the time, says which was last: clocks can be moved.
CREATE TABLE reconciler.run (
    id              uuid PRIMARY KEY,
    sequence        bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    at              timestamptz NOT NULL DEFAULT now(),
    commit_id       text NOT NULL,
    author_name     text NOT NULL,
    author_email    text NOT NULL,
    committer_name  text NOT NULL,
    committer_email text NOT NULL,
    actor           text NOT NULL,
    reason          text,
    dirty           boolean NOT NULL,
    -- Applied from a commit that was not reviewed and merged yet (`reconcile kill --now`).
    ahead           boolean NOT NULL,
    -- Such a run, or one of a dirty work tree, leaves what git asked for as it was: it is not what "applied
    -- last" means.
    holds           boolean GENERATED ALWAYS AS (dirty OR ahead) STORED,
    plan_id         text NOT NULL UNIQUE,
    fingerprint     text NOT NULL,
    scope           jsonb NOT NULL,
    counts          jsonb NOT NULL,
    outcome         text NOT NULL,
    run_url         text,
    pull_request    integer,
    version         text NOT NULL,
    -- How the ledger stands to git after it, where the project is large: the commit whose state it holds, rows of
    -- `reconciler.pending` aside. NULL where the next run must read everything.
    sync            jsonb,
    -- Which batch of which plan it is, where the plan was applied in several transactions: `series` (the plan's id),
    -- `number`, `of`. The outcome of all but the last is 'partial': they settle nothing, as a run of a few rows does.
    batch           jsonb
);
CREATE INDEX run_commit ON reconciler.run (commit_id);

-- What was applied last, a row for each managed row.
CREATE TABLE reconciler.managed_row (
    table_name text NOT NULL,
    key        text NOT NULL,
    applied    jsonb NOT NULL,
    -- Of the key and `applied`, as the program writes them: what git asks for is compared with this, and travels as
    -- this.
    digest     uuid NOT NULL,
    -- Its first half: many digests are compared by the exclusive or of these.
    summand    bigint NOT NULL GENERATED ALWAYS AS (
        ('x' || substr(digest::text, 1, 8) || substr(digest::text, 10, 4) || substr(digest::text, 15, 4))
        ::bit(64)::bigint
    ) STORED,
    -- Of the managed columns when they had the values of `applied`, as the server makes it of the row. NULL where
    -- nobody has looked.
    row_hash   bigint,
    run_id     uuid NOT NULL,
    PRIMARY KEY (table_name, key)
);

-- Rows that every run must look at, whatever git has changed: what is held back, kept, or limited in time. `files` are
-- those that name the row, as far as they are known.
CREATE TABLE reconciler.pending (
    table_name text NOT NULL,
    key        text NOT NULL,
    files      text[] NOT NULL,
    PRIMARY KEY (table_name, key)
);

-- Every field that was ever written, append-only. An audit entry is made from each, with the same id.
CREATE TABLE reconciler.change (
    run_id     uuid NOT NULL REFERENCES reconciler.run (id),
    ordinal    integer NOT NULL,
    id         uuid NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    table_name text NOT NULL,
    key        text NOT NULL,
    field      text NOT NULL,
    before     jsonb,
    after      jsonb NOT NULL,
    finding    text NOT NULL,
    direction  text NOT NULL,
    reason     text,
    file       text,
    line       integer,
    label      text,
    tenant     text NOT NULL,
    waived     jsonb,
    PRIMARY KEY (run_id, ordinal)
);
CREATE INDEX change_row ON reconciler.change (table_name, key, at);
CREATE INDEX change_at ON reconciler.change (at);

-- Only the fields that have a story: killed at some time, or at odds with git right now.
CREATE TABLE reconciler.mark (
    table_name text NOT NULL,
    key        text NOT NULL,
    field      text NOT NULL,
    killed_at  timestamptz,
    killed_by  text,
    seen_at    timestamptz,
    seen_value jsonb,
    seen_entry text,
    glass      text,
    spent      text[] NOT NULL,
    PRIMARY KEY (table_name, key, field)
);
CREATE INDEX mark_open ON reconciler.mark (table_name, key) WHERE seen_at IS NOT NULL;

-- What a `$where` asks for, by digest, since when: what a row that begins to match later is held against.
CREATE TABLE reconciler.match_entry (
    table_name text NOT NULL,
    entry      text NOT NULL,
    first_at   timestamptz NOT NULL,
    run_id     uuid NOT NULL,
    PRIMARY KEY (table_name, entry)
);

-- Freezes that somebody has called, over those of the policy.
CREATE TABLE reconciler.freeze (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_at      timestamptz NOT NULL DEFAULT now(),
    until_at     timestamptz NOT NULL,
    reason       text NOT NULL,
    actor        text NOT NULL,
    ended_at     timestamptz,
    ended_by     text,
    ended_reason text
);

-- What follows changes, in the order in which it was written. Delivered entries are kept: `state` says how each ended.
CREATE TABLE reconciler.outbox (
    sequence        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              uuid NOT NULL,
    run_id          uuid NOT NULL REFERENCES reconciler.run (id),
    at              timestamptz NOT NULL DEFAULT now(),
    -- The field whose change it follows. Of a notification: nothing, the event, and a digest of what it tells.
    table_name      text NOT NULL,
    key             text NOT NULL,
    field           text NOT NULL,
    kind            text NOT NULL,
    endpoint        text NOT NULL,
    target          text NOT NULL,
    payload         jsonb NOT NULL,
    state           text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'superseded')),
    attempts        integer NOT NULL DEFAULT 0,
    refusals        integer NOT NULL DEFAULT 0,
    tried_since     timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error      text,
    finished_at     timestamptz
);
CREATE INDEX outbox_due ON reconciler.outbox (next_attempt_at) WHERE state = 'pending';
CREATE INDEX outbox_row ON reconciler.outbox (table_name, key, endpoint, sequence) WHERE state IN ('pending', 'dead');
CREATE INDEX outbox_run ON reconciler.outbox (run_id);
CREATE INDEX outbox_told ON reconciler.outbox (key, endpoint, field, at) WHERE table_name = '';

-- Whether a run's changes were seen in effect: what was found of each proof that they called for, written after the
-- commit, in two steps: that it is asked, and what came of it (null until then). Times are from the commit; `after_ms`
-- is null where nothing was seen.
CREATE TABLE reconciler.proof (
    run_id     uuid NOT NULL REFERENCES reconciler.run (id),
    ordinal    integer NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    table_name text NOT NULL,
    field      text NOT NULL,
    kind       text NOT NULL,
    target     text NOT NULL,
    changes    integer NOT NULL,
    asked      integer NOT NULL,
    seen       integer,
    after_ms   integer,
    waited_ms  integer,
    PRIMARY KEY (run_id, ordinal)
);
CREATE INDEX proof_open ON reconciler.proof (run_id) WHERE waited_ms IS NULL;

-- The changes that were not, and what was seen instead.
CREATE TABLE reconciler.unseen (
    run_id     uuid NOT NULL,
    ordinal    integer NOT NULL,
    table_name text NOT NULL,
    key        text NOT NULL,
    field      text NOT NULL,
    label      text,
    said       text NOT NULL,
    PRIMARY KEY (run_id, table_name, key, field, ordinal),
    FOREIGN KEY (run_id, ordinal) REFERENCES reconciler.proof (run_id, ordinal)
);
""",
}


def installed_version(connection: Connection[Any]) -> int:
    """The version that is there; 0 where there is none."""
    there = connection.execute("SELECT to_regclass('reconciler.meta') IS NOT NULL").fetchone()
    if there is None or not there[0]:
        return 0
    row = connection.execute("SELECT version FROM reconciler.meta").fetchone()
    return int(row[0]) if row else 0


def upgrade(connection: Connection[Any]) -> tuple[int, int]:
    """Bring the ledger to VERSION, in the caller's transaction. Returns the versions before and after.

    A ledger that is newer than this program is left alone, and its version returned twice.
    """
    found = installed_version(connection)
    for version in range(found + 1, VERSION + 1):
        connection.execute(_MIGRATIONS[version])
        connection.execute("UPDATE reconciler.meta SET version = %s, upgraded_at = now()", (version,))
    return found, max(found, VERSION)
