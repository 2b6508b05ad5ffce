"""The platform as the demo finds it: a few dozen companies, two users and the settings row.

Takes a connection to a database that has the platform's tables; fills them. Ids follow from the names, so that state/
can name them.
"""

from __future__ import annotations

import uuid
from typing import Any

from psycopg import Connection

COMPANIES = """
Acme Bakery|PAID_BASIC|LOW|200|5000
Almond & Oak Furniture|FREE|FREE|50|1000
Atlas Moving|PAID_PRO|MEDIUM|1000|20000
Bay Street Dental|PAID_BASIC|LOW|200|5000
Bluebird Travel|PAID_PRO|MEDIUM|1000|20000
Brightside Tutors|FREE|FREE|50|1000
Café Córdoba|PAID_BASIC|LOW|200|5000
Cedar Yoga Studio|FREE|FREE|50|1000
City Cycle Repair|FREE|FREE|50|1000
Copper Kettle Catering|PAID_BASIC|LOW|200|5000
Daily Greens Delivery|PAID_PRO|MEDIUM|1000|20000
Delta Plumbing|PAID_BASIC|LOW|200|5000
Dr. Ngozi Family Practice|ENTERPRISE|HIGH|5000|100000
Eastgate Motors|PAID_PRO|MEDIUM|1000|20000
Elm Tree Nursery|FREE|FREE|50|1000
Fable Bookshop|FREE|FREE|50|1000
Fast Lane Couriers|ENTERPRISE|HIGH|5000|100000
Fjord Outdoor|PAID_BASIC|LOW|200|5000
Golden Hour Photography|FREE|FREE|50|1000
Granite Legal|PAID_PRO|MEDIUM|1000|20000
Harbour Fish Market|PAID_BASIC|LOW|200|5000
Hilltop Veterinary|PAID_BASIC|LOW|200|5000
Iris Flowers|FREE|FREE|50|1000
Juniper Hotels|ENTERPRISE|HIGH|5000|100000
Kite & Key Electricians|PAID_BASIC|LOW|200|5000
Lighthouse Insurance|ENTERPRISE|HIGH|5000|100000
Lotus Massage|FREE|FREE|50|1000
Maple Credit Union|ENTERPRISE|HIGH|5000|100000
Meridian Clinics|ENTERPRISE|HIGH|5000|100000
Nightowl Pharmacy|PAID_PRO|MEDIUM|1000|20000
Old Mill Brewery|PAID_BASIC|LOW|200|5000
Pixel Print Shop|FREE|FREE|50|1000
Quick Cash Offers|PAID_PRO|MEDIUM|1000|20000
Riverside Gym|PAID_BASIC|LOW|200|5000
Saffron Kitchen|PAID_BASIC|LOW|200|5000
Summit Climbing|FREE|FREE|50|1000
Tidewater Rentals|PAID_PRO|MEDIUM|1000|20000
Velvet Hair|FREE|FREE|50|1000
""".strip()


def tenant_id(name: str) -> str:
    """The id of a company of the demo: always the same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.tenants.example"))


def fill(connection: Connection[Any]) -> int:
    """Insert the companies, an operator and the settings row. Returns the number of companies."""
    rows = [line.split("|") for line in COMPANIES.splitlines()]
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO tenants (id, name, "aiPlan", "aiTier", "aiDailyLimit", "aiMonthlyLimit", "updatedAt")
            VALUES (%s, %s, %s, %s, %s, %s, now() AT TIME ZONE 'UTC')
            """,
            [(tenant_id(name), name, plan, tier, daily, monthly) for name, plan, tier, daily, monthly in rows],
        )
        cursor.execute(
            """
            INSERT INTO users (id, email, "passwordHash", role, "tenantId", "updatedAt")
            VALUES ('user-operator', 'operator@platform.example', 'not a hash', 'SUPER_ADMIN', %s,
                    now() AT TIME ZONE 'UTC')
            """,
            (tenant_id("Acme Bakery"),),
        )
        cursor.execute(
            """
            INSERT INTO system_settings (id, "defaultAiProvider", "openaiApiKey", "smtpPass", "updatedAt")
            VALUES ('system', 'openai', 'sk-a-secret-that-is-never-read', 'another secret', now() AT TIME ZONE 'UTC')
            """
        )
    return len(rows)
