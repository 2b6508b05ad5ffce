"""Who is in the way, once a lock was not to be had.

Takes a connection outside of a transaction; gives a sentence for the user. It looks at what this role may see; a role
that sees little says little, and never fails.
"""

from __future__ import annotations

import psycopg

from reconciler.apply import LOCK_KEY
from reconciler.database.connection import DatabaseConnection

_HOLDERS = """
SELECT DISTINCT a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'an unnamed client'),
       coalesce(host(a.client_addr), 'a local socket'),
       extract(epoch FROM clock_timestamp() - a.xact_start)::int, l.locktype = 'advisory'
  FROM pg_locks l
  JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.granted AND a.pid <> pg_backend_pid() AND a.datname = current_database() AND a.xact_start IS NOT NULL
   AND (   (l.locktype = 'advisory' AND l.objsubid = 1 AND (l.classid::bigint << 32 | l.objid::bigint) = %s)
        OR (l.locktype = 'transactionid' AND a.state IS NOT NULL AND l.mode = 'ExclusiveLock'))
 ORDER BY 6 DESC, 5 DESC NULLS LAST
 LIMIT 3
"""


def who_holds(connection: DatabaseConnection) -> str:
    """A clause such as `; held by pid 812 (reconcile, role deploy, from 10.0.0.7, for 12 s)`.

    Empty where none is seen.
    """
    try:
        rows = connection.execute(_HOLDERS, (LOCK_KEY,)).fetchall()
    except psycopg.Error:
        return ""
    if any(advisory for *_, advisory in rows):
        rows = [row for row in rows if row[5]]
    held = [f"pid {pid} ({name}, role {role}, from {host}, for {age} s)" for pid, role, name, host, age, _ in rows]
    return f". Held, as far as this role can see, by {'; '.join(held)}" if held else ""
