"""What follows a change once it is committed: messages to Redis, BullMQ jobs, webhooks.

A field of a schema declares its effects (`declared`), which are checked when the schema is read (`compiled`,
`templates`). An apply writes what its changes call for into the outbox, in its own transaction (`following`,
`messages`, `outbox`); what stands there is delivered after the commit, by that run or by a later one (`delivery`, with
`redis_delivery` and `webhook` for the two ways out), at least once. See docs/effects.md.

Nothing here imports redis, bullmq, asyncio or urllib before there is something to deliver.
"""
