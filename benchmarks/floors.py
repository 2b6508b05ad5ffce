"""The floors: psql scripts that do the same by hand, as well as somebody who knows Postgres would write them.

Gives SQL and psql's arguments. Nothing here is slowed down: the desired values lie in a file that COPY can take, the
temporary tables are analyzed where that pays, every step is one set-based statement, all of it one transaction. A
script that changes rows writes the same rows with the same content as an apply of the tool: the tenants, an audit entry
for each field, the run, the change and the managed row of the ledger.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.fleet import AUTHOR_EMAIL

_DESIRED = """
CREATE TEMPORARY TABLE desired (
    id text NOT NULL, "isWhatsappEnabled" boolean NOT NULL, "isAiEnabled" boolean NOT NULL,
    "aiDailyLimit" integer NOT NULL, "aiMonthlyLimit" integer NOT NULL, status "TenantStatus" NOT NULL
) ON COMMIT DROP;
\\copy desired FROM '{rows}'
"""
# Not analyzed: the planner knows the size of a new table, the plans are the same, and ANALYZE takes 60 ms of 140.

_DIFFERS = """
       (t."isWhatsappEnabled", t."isAiEnabled", t."aiDailyLimit", t."aiMonthlyLimit", t.status)
       IS DISTINCT FROM
       (d."isWhatsappEnabled", d."isAiEnabled", d."aiDailyLimit", d."aiMonthlyLimit", d.status)
"""

_FIELDS = """
       LATERAL (
        VALUES ('aiDailyLimit', to_jsonb(c.old_daily), to_jsonb(c."aiDailyLimit")),
               ('aiMonthlyLimit', to_jsonb(c.old_monthly), to_jsonb(c."aiMonthlyLimit")),
               ('isAiEnabled', to_jsonb(c.old_ai), to_jsonb(c."isAiEnabled")),
               ('isWhatsappEnabled', to_jsonb(c.old_whatsapp), to_jsonb(c."isWhatsappEnabled")),
               ('status', to_jsonb(c.old_status), to_jsonb(c.status))
       ) AS f (field, before, after)
"""

FLIP = f"""
BEGIN;
UPDATE tenants SET "isAiEnabled" = false, "updatedAt" = now() AT TIME ZONE 'UTC' WHERE id = '{{key}}';
INSERT INTO audit_logs (id, "tenantId", "actorUserId", "eventType", metadata, timestamp)
VALUES (gen_random_uuid()::text, '{{key}}', (SELECT id FROM users WHERE email = '{AUTHOR_EMAIL}'),
        'TENANT_UPDATED_BY_ADMIN',
        '{{{{"field": "isAiEnabled", "before": true, "after": false, "reason": "AI off: abuse, INC-142"}}}}',
        now() AT TIME ZONE 'UTC');
COMMIT
"""
"""The runbook's kill switch and an audit entry: two rows, one round trip."""

PLAN = f"""
BEGIN;
{_DESIRED}
SELECT d.*, t."isWhatsappEnabled", t."isAiEnabled", t."aiDailyLimit", t."aiMonthlyLimit", t.status
  FROM desired d LEFT JOIN tenants t USING (id)
 WHERE {_DIFFERS}
 ORDER BY id;
COMMIT;
"""
"""The desired values in, every row that differs out."""

APPLY = f"""
BEGIN;
{_DESIRED}
CREATE TEMPORARY TABLE changed ON COMMIT DROP AS
SELECT d.*, t.name, t."isWhatsappEnabled" AS old_whatsapp, t."isAiEnabled" AS old_ai, t."aiDailyLimit" AS old_daily,
       t."aiMonthlyLimit" AS old_monthly, t.status AS old_status
  FROM desired d JOIN tenants t USING (id)
 WHERE {_DIFFERS}
 ORDER BY id
   FOR NO KEY UPDATE OF t;
ANALYZE changed;

INSERT INTO reconciler.run (id, commit_id, author_name, author_email, committer_name, committer_email, actor, reason,
                            dirty, ahead, plan_id, fingerprint, scope, counts, outcome, version)
VALUES (gen_random_uuid(), repeat('0', 40), 'Olu Operator', '{AUTHOR_EMAIL}', 'Olu Operator', '{AUTHOR_EMAIL}',
        'operator@laptop', 'Raise the limits', false, false, gen_random_uuid(), repeat('0', 64), '{{{{}}}}', '{{{{}}}}',
        'applied', 'by hand')
RETURNING id AS run \\gset

UPDATE tenants t
   SET "isWhatsappEnabled" = c."isWhatsappEnabled", "isAiEnabled" = c."isAiEnabled",
       "aiDailyLimit" = c."aiDailyLimit", "aiMonthlyLimit" = c."aiMonthlyLimit", status = c.status,
       "updatedAt" = now() AT TIME ZONE 'UTC'
  FROM changed c
 WHERE t.id = c.id;

INSERT INTO reconciler.change (run_id, ordinal, id, table_name, key, field, before, after, finding, direction, file,
                               line, label, tenant)
SELECT :'run', row_number() OVER (), gen_random_uuid(), 'tenants', c.id, f.field, f.before, f.after, 'change',
       'restore', 'state/tenants/0000.yaml', 1, c.name, c.id
  FROM changed c, {_FIELDS}
 WHERE f.before <> f.after;

INSERT INTO audit_logs (id, "tenantId", "actorUserId", "eventType", metadata, timestamp)
SELECT c.id, c.tenant, u.id, 'TENANT_RECONCILED',
       jsonb_build_object(
           'source', 'by hand  ', 'run', c.run_id, 'commit', repeat('0', 40),
           'author', 'Olu Operator <{AUTHOR_EMAIL}>', 'committer', 'Olu Operator <{AUTHOR_EMAIL}>',
           'actor', 'operator@laptop', 'runReason', 'Raise the limits', 'table', c.table_name, 'key', c.key,
           'field', c.field, 'finding', c.finding, 'direction', c.direction, 'file', c.file, 'line', c.line,
           'before', c.before, 'after', c.after, 'reason', 'Raise the limits'),
       now() AT TIME ZONE 'UTC'
  FROM reconciler.change c LEFT JOIN users u ON u.email = '{AUTHOR_EMAIL}'
 WHERE c.run_id = :'run';

UPDATE reconciler.managed_row m
   SET run_id = :'run',
       digest = md5(concat_ws(',', c."isWhatsappEnabled", c."isAiEnabled", c."aiDailyLimit", c."aiMonthlyLimit",
                              c.status))::uuid,
       applied = jsonb_build_object(
           'isWhatsappEnabled', c."isWhatsappEnabled", 'isAiEnabled', c."isAiEnabled",
           'aiDailyLimit', c."aiDailyLimit", 'aiMonthlyLimit', c."aiMonthlyLimit", 'status', c.status)
  FROM changed c
 WHERE m.table_name = 'tenants' AND m.key = c.id;
COMMIT;
"""
"""What differs is found, written, audited and remembered."""


def command(psql: Path, url: str, *, script: Path | None = None, statement: str = "") -> list[str]:
    """How psql is started: no start-up file, the first error ends it."""
    what = ["--file", str(script)] if script else ["--command", statement]
    return [str(psql), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", url, *what]
