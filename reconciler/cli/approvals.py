"""`reconcile approvals`."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import click

from reconciler.cli.options import output_option, project_options
from reconciler.cli.output import put


@click.command("approvals")
@project_options
@click.argument("changes", metavar="BASE...HEAD")
@click.option(
    "--reviews",
    type=click.File("rb"),
    required=True,
    metavar="FILE",
    help="The pull request's reviews, as `gh api --paginate repos/OWNER/REPO/pulls/N/reviews` prints them; - is stdin.",
)
@click.option(
    "--author",
    "involved",
    multiple=True,
    metavar="LOGIN",
    help="Somebody whose approval does not count: the author, who pushed to it. Can be given several times.",
)
@output_option("text", "json")
@click.option("--exit-code", is_flag=True, help="End with 5 if approvals are missing.")
def command(
    directory: Path, changes: str, reviews: BinaryIO, involved: tuple[str, ...], output: str, exit_code: bool
) -> None:
    """Say whether enough people have approved a pull request, by what it does (see docs/approvals.md).

    How many it takes stands in the policy of BASE (`approvals`). HEAD is the pull request's own head: an approval of an
    older one does not count.
    """
    from reconciler.approvals import parse_reviews, verdict
    from reconciler.pull_request import parse_range, review_changes

    review = review_changes(directory, parse_range(changes))
    said = verdict(review, parse_reviews(reviews.read()), involved)
    if output == "json":
        import json

        found = {
            "format_version": 1,
            "state": said.state,
            "description": said.description,
            "class": review.review_class,
            "needed": said.needed,
            "approved_by": said.approved_by,
            "against": said.against,
            "stale": said.stale,
            "head": review.head,
        }
        put(json.dumps(found, ensure_ascii=False))
    else:
        put(f"{said.state}: {said.description}")
    if exit_code and not said.is_enough:
        click.get_current_context().exit(5)
