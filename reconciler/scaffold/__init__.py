"""`reconcile new`: a repository of one's own, with state/ and schemas/, that is valid from its first commit on."""
