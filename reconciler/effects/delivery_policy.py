"""What the policy may say about effects: how they are delivered, and whom to tell of a run.

Takes and gives nothing but data; `policy` holds these structs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from reconciler.effects.declared import Positive, WebhookTarget
from reconciler.fields import Duration

Event = Literal["kill", "restore", "held", "failed", "drift"]


class Notification(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom to tell when a run has killed, restored, held or failed, or has found drift: one message for the run."""

    on: Annotated[list[Event], msgspec.Meta(min_length=1)]
    webhook: WebhookTarget


class DeliveryPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How effects are delivered.

    `timeout`: how long a Redis or a webhook may take to answer. `attempts`: how often it may refuse an effect before
    that is given up. One that cannot be reached is tried for `give_up_after`. Between attempts lies `backoff`, doubled
    each time up to `longest_backoff`.
    """

    timeout: Duration = "2s"
    attempts: Positive = 12
    backoff: Duration = "10s"
    longest_backoff: Duration = "10m"
    give_up_after: Duration = "7d"
