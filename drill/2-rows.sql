-- An ordinary day: two tenants, the settings row, and what happens when nothing happens. The drill starts from here.
INSERT INTO tenants (id, name, "updatedAt") VALUES
    ('8a6e0804-2bd0-4672-b79d-d97027f9071a', 'Acme Bakery', now() AT TIME ZONE 'UTC'),
    ('0b0b0b0b-2bd0-4672-b79d-d97027f9071b', 'Bob''s Books', now() AT TIME ZONE 'UTC');

INSERT INTO system_settings (id, "defaultAiProvider", "updatedAt") VALUES ('system', 'openrouter', now() AT TIME ZONE 'UTC');

INSERT INTO audit_logs (id, "tenantId", "eventType", metadata, timestamp)
SELECT gen_random_uuid()::text, t.id, 'MESSAGE_RECEIVED', '{"customerId": "c-1"}', (now() AT TIME ZONE 'UTC') - interval '5 minutes'
  FROM tenants AS t, generate_series(1, 30);

INSERT INTO ai_usage_logs (id, "tenantId", model, tier, cost, timestamp)
SELECT gen_random_uuid()::text, t.id, 'openrouter/auto', 'LOW', 0.001, (now() AT TIME ZONE 'UTC') - interval '5 minutes'
  FROM tenants AS t, generate_series(1, 150);
