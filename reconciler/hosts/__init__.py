"""Where the repository lives on the web: GitHub and GitLab, spoken to by one client.

Takes the remote's address, the environment, and what is to be said there; gives pull requests, comments, labels and
issues. Nothing that a host answers, or does not, is worth failing for: a run is done, or not, in the database. So every
failure here is a HostProblem, which its callers turn into a sentence.
"""
