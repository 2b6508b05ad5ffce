"""The pull request as the console: what a host shows of a Plan or an Outcome to people who never run the tool.

Comments, annotations, labels and the texts of issues. All of it is pure: a Plan, an Outcome or Problems go in, text or
values come out; `hosts` sends them. Nothing from YAML or from the database can be markup, a mention or a command there.
"""
