-- Two invented tables beside the platform's: the program knows no table by name.
CREATE TYPE rollout_stage AS ENUM ('internal', 'beta', 'everybody', 'withdrawn');

CREATE TABLE feature_rollouts (
    number     bigint PRIMARY KEY,
    feature    text NOT NULL,
    enabled    boolean NOT NULL DEFAULT true,
    stage      rollout_stage NOT NULL DEFAULT 'internal',
    share      numeric(5, 2) NOT NULL DEFAULT 0,
    weight     double precision NOT NULL DEFAULT 1,
    countries  text[] NOT NULL DEFAULT '{}',
    retries    smallint[],
    rules      jsonb,
    starts_at  timestamptz,
    ends_at    timestamp(3),
    changed_at timestamptz NOT NULL DEFAULT '2026-01-01T00:00:00Z'
);

CREATE SCHEMA billing;

CREATE TABLE billing.plan_limits (
    id         uuid PRIMARY KEY,
    tenant     text REFERENCES tenants (id),
    plan_name  varchar(20) NOT NULL,
    seats      integer,
    overage    numeric(12, 4) NOT NULL DEFAULT 0,
    hard_stop  boolean NOT NULL DEFAULT false,
    note       varchar(40)
);
