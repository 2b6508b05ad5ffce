"""What a CI job does: run, and say on the host's pages what came of it.

Takes the environment that GitHub Actions, GitLab CI or another service provides, and a mode (validate, plan, apply,
drift); gives annotations, a summary, a comment, labels and issues. The run comes first and decides the exit code; the
host comes afterwards and changes nothing about it.
"""
