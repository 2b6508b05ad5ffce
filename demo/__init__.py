"""The main job on an embedded Postgres, from an empty database to audit entries: `scripts/demo`."""
