"""GitHub's REST API on this machine: it refuses what does not fit GitHub's own description of it.

Takes nothing; gives a server with a repository's issues, pull requests, comments, labels and artifacts in memory. Every
request is checked against `tests/github/openapi.json`: path, method, parameters, body; every answer is one of GitHub's
examples with our values in it, and checked too. A token may do what its permissions say, as a job's may.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema import Draft202012Validator

DESCRIPTION = Path(__file__).parents[1] / "github" / "openapi.json"

BOT = {"login": "github-actions[bot]", "type": "Bot", "id": 41898282}
ROBOT = "Resource not accessible by integration"


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    document: dict[str, Any] | None
    token: str


@dataclass
class Fault:
    """What is answered in place of the truth: to so many requests that `matches` is true of."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any]
    times: int
    matches: Callable[[Asked], bool]


class Refused(Exception):
    """An answer of 400 or more."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass
class GitHubApi:
    """One repository, `acme/state`, as the API has it."""

    url: str = ""
    repository: str = "acme/state"
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    archives: dict[int, bytes] = field(default_factory=dict)
    commits: dict[str, list[int]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _next: int = 1

    def number(self) -> int:
        """The next number of an issue, a pull request or a comment."""
        self._next += 1
        return self._next - 1

    def token(self, name: str, **permissions: str) -> str:
        """A job's token that may do this, such as issues="write"."""
        self.tokens[name] = {key.replace("_", "-"): value for key, value in permissions.items()}
        return name

    def fail(
        self,
        status: int,
        *,
        times: int = 1_000_000,
        headers: Mapping[str, str] | None = None,
        message: str = "",
        matches: Callable[[Asked], bool] = lambda _: True,
    ) -> None:
        """From now on, answer so."""
        self.faults.append(Fault(status, headers or {}, {"message": message}, times, matches))

    def comment(self, number: int, body: str, user: Mapping[str, Any]) -> dict[str, Any]:
        """A comment by anybody."""
        made = {"id": self.number(), "body": body, "user": dict(user), "number": number}
        self.comments.setdefault(number, []).append(made)
        return made

    # What is asked

    def answer(self, asked: Asked) -> tuple[int, dict[str, str], Any]:
        """Status, headers and document (or bytes)."""
        self.asked.append(asked)
        for fault in self.faults:
            if fault.times > 0 and fault.matches(asked):
                fault.times -= 1
                return fault.status, dict(fault.headers), fault.document
        if asked.path.startswith("/store/"):
            if asked.token:
                raise Refused(400, "the store takes no token")
            return 200, {"Content-Type": "application/zip"}, self.archives[int(asked.path.rpartition("/")[2])]
        path, values, operation = _operation(asked)
        problem = _misfit(operation, asked)
        if problem is not None:
            self.misfits.append(f"{asked.method} {asked.path}: {problem}")
            raise Refused(422, problem)
        if asked.token not in self.tokens and asked.token not in self.people:
            raise Refused(401, "Bad credentials")
        if (owner := values.get("owner")) is not None and f"{owner}/{values['repo']}" != self.repository:
            raise Refused(404, "Not Found")
        name = re.sub(r"[^a-z]+", "_", operation["operationId"])
        code, made = getattr(self, f"_{name}")(asked, values)
        headers = {}
        if code == 302:
            headers["Location"] = made
            made = None
        elif (wrong := _wrong_answer(operation, code, made)) is not None:
            raise AssertionError(f"the server's own answer to {asked.method} {path} is none of GitHub's: {wrong}")
        return code, headers, made

    def _need(self, asked: Asked, *any_of: tuple[str, str]) -> None:
        permissions = self.tokens.get(asked.token)
        if permissions is None:  # a person's
            return
        for name, level in any_of:
            if permissions.get(name) == "write" or permissions.get(name) == level:
                return
        raise Refused(403, ROBOT)

    def _user(self, asked: Asked) -> dict[str, Any]:
        return self.people.get(asked.token, BOT)

    def _of_number(self, asked: Asked, values: Mapping[str, str], level: str) -> int:
        number = int(values["issue_number"])
        if number in self.pulls:
            self._need(asked, ("issues", level), ("pull-requests", level))
        elif number in self.issues:
            self._need(asked, ("issues", level))
        else:
            raise Refused(404, "Not Found")
        return number

    def _users_get_authenticated(self, asked: Asked, _: Mapping[str, str]) -> tuple[int, Any]:
        if asked.token in self.tokens:
            raise Refused(403, ROBOT)
        return 200, example("private-user") | self.people[asked.token]

    def _issues_list_comments(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        number = self._of_number(asked, values, "read")
        return 200, [_shown_comment(one) for one in _page(self.comments.get(number, []), asked)]

    def _issues_create_comment(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        number = self._of_number(asked, values, "write")
        return 201, _shown_comment(self.comment(number, _body(asked), self._user(asked)))

    def _issues_update_comment(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        for number, comments in self.comments.items():
            for comment in comments:
                if comment["id"] == int(values["comment_id"]):
                    self._of_number(asked, {"issue_number": str(number)}, "write")
                    comment["body"] = _body(asked)
                    return 200, _shown_comment(comment)
        raise Refused(404, "Not Found")

    def _issues_list_labels_on_issue(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        number = self._of_number(asked, values, "read")
        return 200, [_label(name) for name in _page(self._labels(number), asked)]

    def _issues_add_labels(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        number = self._of_number(asked, values, "write")
        assert asked.document is not None
        there = self._labels(number)
        there += [name for name in asked.document["labels"] if name not in there]
        return 200, [_label(name) for name in there]

    def _issues_remove_label(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        there = self._labels(self._of_number(asked, values, "write"))
        if values["name"] not in there:
            raise Refused(404, "Label does not exist")
        there.remove(values["name"])
        return 200, [_label(name) for name in there]

    def _issues_create_label(self, asked: Asked, _: Mapping[str, str]) -> tuple[int, Any]:
        self._need(asked, ("issues", "write"), ("pull-requests", "write"))
        assert asked.document is not None
        name = asked.document["name"]
        if name in self.colours:
            raise Refused(422, "Validation Failed")
        self.colours[name] = asked.document["color"]
        return 201, _label(name) | {"color": asked.document["color"], "description": asked.document["description"]}

    def _labels(self, number: int) -> list[str]:
        labels: list[str] = (self.pulls.get(number) or self.issues[number])["labels"]
        return labels

    def _issues_list_for_repo(self, asked: Asked, _: Mapping[str, str]) -> tuple[int, Any]:
        self._need(asked, ("issues", "read"))
        wanted = set(filter(None, asked.query.get("labels", "").split(",")))
        state = asked.query.get("state", "open")
        found = [
            one for one in self.issues.values() if state in ("all", one["state"]) and wanted <= set(one["labels"])
        ]
        return 200, [_shown_issue(one) for one in _page(found, asked)]

    def _issues_create(self, asked: Asked, _: Mapping[str, str]) -> tuple[int, Any]:
        self._need(asked, ("issues", "write"))
        assert asked.document is not None
        made = {
            "number": self.number(), "title": asked.document["title"], "body": _body(asked), "state": "open",
            "labels": list(asked.document["labels"]), "user": self._user(asked),
        }  # fmt: skip
        self.issues[made["number"]] = made
        return 201, _shown_issue(made)

    def _issues_update(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        number = self._of_number(asked, values, "write")
        assert asked.document is not None
        changed = {name: value for name, value in asked.document.items() if name in ("title", "body", "state")}
        self.issues[number] |= changed
        return 200, _shown_issue(self.issues[number])

    def _pulls_get(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        self._need(asked, ("pull-requests", "read"))
        return 200, _shown_pull(example("pull-request"), self.pulls[int(values["pull_number"])])

    def _pulls_create(self, asked: Asked, _: Mapping[str, str]) -> tuple[int, Any]:
        self._need(asked, ("pull-requests", "write"))
        assert asked.document is not None
        number = self.number()
        self.pulls[number] = {
            "number": number, "head": "0" * 40, "base": asked.document["base"], "merged_at": None, "labels": [],
            "branch": asked.document["head"],
        }  # fmt: skip
        return 201, _shown_pull(example("pull-request"), self.pulls[number])

    def _repos_list_pull_requests_associated_with_commit(
        self, asked: Asked, values: Mapping[str, str]
    ) -> tuple[int, Any]:
        self._need(asked, ("pull-requests", "read"))
        [shape] = example("pull-request-simple-items")
        numbers = self.commits.get(values["commit_sha"], [])
        return 200, [_shown_pull(copy.deepcopy(shape), self.pulls[number]) for number in _page(numbers, asked)]

    def _actions_list_artifacts_for_repo(self, asked: Asked, _: Mapping[str, str]) -> tuple[int, Any]:
        self._need(asked, ("actions", "read"))
        found = [one for one in self.artifacts if one["name"] == asked.query.get("name", one["name"])]
        shape = example("artifact-paginated")["artifacts"][0]
        page = [copy.deepcopy(shape) | one for one in _page(found, asked)]
        return 200, {"total_count": len(found), "artifacts": page}

    def _actions_download_artifact(self, asked: Asked, values: Mapping[str, str]) -> tuple[int, Any]:
        self._need(asked, ("actions", "read"))
        # Another host, as GitHub's is.
        return 302, f"{self.url.replace('127.0.0.1', 'localhost')}/store/{values['artifact_id']}"


def _body(asked: Asked) -> str:
    body = (asked.document or {}).get("body", "")
    if len(body) > 65536:
        raise Refused(422, "Body is too long (maximum is 65536 characters)")
    return str(body)


def _page(items: list[Any], asked: Asked) -> list[Any]:
    size, page = int(asked.query.get("per_page", "30")), int(asked.query.get("page", "1"))
    return items[(page - 1) * size : page * size]


def _shown_comment(comment: Mapping[str, Any]) -> Any:
    shape = example("issue-comment")
    return shape | {"id": comment["id"], "body": comment["body"], "user": shape["user"] | comment["user"]}


def _shown_issue(issue: Mapping[str, Any]) -> Any:
    shape = example("issue")
    shape.pop("pull_request", None)
    labels = [_label(name) for name in issue["labels"]]
    return shape | dict(issue) | {"labels": labels, "user": shape["user"] | issue["user"]}


def _shown_pull(shape: Any, pull: Mapping[str, Any]) -> Any:
    shape["number"], shape["merged_at"] = pull["number"], pull["merged_at"]
    shape["head"]["sha"], shape["base"]["ref"] = pull["head"], pull["base"]
    # Here GitHub's own example is not as GitHub describes it.
    shape["requested_teams"] = []
    shape["labels"] = [_label(name) for name in pull["labels"]]
    shape["html_url"] = f"https://github.com/acme/state/pull/{pull['number']}"
    return shape


def _label(name: str) -> Any:
    return example("label") | {"name": name, "default": False}


# GitHub's description


@cache
def _description() -> Any:
    return json.loads(DESCRIPTION.read_text(encoding="utf-8"))


def _resolved(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        found = _description()
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def example(name: str) -> Any:
    """One of GitHub's own examples, to be changed."""
    examples = _description()["components"]["examples"]
    found = examples.get(name) or next(value for key, value in sorted(examples.items()) if key.startswith(name))
    return copy.deepcopy(found["value"])


@cache
def _schema(pointer: str) -> Draft202012Validator:
    """The schema at a place of the description, as JSON Schema: OpenAPI 3.0 writes `nullable` where it has no null."""
    document = {"components": _in_json_schema(_description()["components"])}
    node = _description()
    for part in pointer.split("|"):
        node = _resolved(node)[part]
    return Draft202012Validator({**_in_json_schema(node), **document})


def _in_json_schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_in_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {name: _in_json_schema(value) for name, value in node.items() if name not in ("nullable", "example")}
    return {"anyOf": [made, {"type": "null"}]} if node.get("nullable") is True else made


def _operation(asked: Asked) -> tuple[str, dict[str, str], Any]:
    for path, methods in _description()["paths"].items():
        names = re.findall(r"\{(\w+)\}", path)
        found = re.fullmatch(re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(path)), asked.path)
        if found is not None and asked.method.lower() in methods:
            values = dict(zip(names, map(unquote, found.groups()), strict=True))
            return path, values, methods[asked.method.lower()] | {"path": path, "method": asked.method.lower()}
    raise Refused(404, f"GitHub describes no {asked.method} {asked.path}")


def _misfit(operation: Any, asked: Asked) -> str | None:
    """What is wrong with a request, None where GitHub describes it so."""
    known = {parameter["name"]: parameter for parameter in map(_resolved, operation.get("parameters", []))}
    for name, text in asked.query.items():
        parameter = known.get(name)
        if parameter is None or parameter["in"] != "query":
            return f"there is no parameter {name}"
        value: Any = int(text) if parameter["schema"].get("type") == "integer" else text
        errors = list(Draft202012Validator(_in_json_schema(parameter["schema"])).iter_errors(value))
        if errors:
            return f"{name}: {errors[0].message}"
    if int(asked.query.get("per_page", "30")) > 100:
        return "per_page is 100 at most"
    missing = [name for name, one in known.items() if one.get("required") and one["in"] == "query"]
    if any(name not in asked.query for name in missing):
        return f"missing: {missing}"
    body = operation.get("requestBody")
    if body is None:
        return "it takes no body" if asked.document is not None else None
    if asked.document is None:
        return "it takes a body" if body.get("required") else None
    pointer = f"paths|{operation['path']}|{operation['method']}|requestBody|content|application/json|schema"
    errors = list(_schema(pointer).iter_errors(asked.document))
    if errors:
        return str(errors[0].message)
    schema = _resolved(body["content"]["application/json"]["schema"])
    properties = schema.get("properties")
    for choice in schema.get("oneOf", []) if properties is None else []:
        properties = {**(properties or {}), **_resolved(choice).get("properties", {})}
    unknown = set(asked.document) - set(properties or {})
    return f"it knows no {unknown}" if unknown else None


def _wrong_answer(operation: Any, code: int, document: Any) -> str | None:
    pointer = f"paths|{operation['path']}|{operation['method']}|responses|{code}|content|application/json|schema"
    errors = list(_schema(pointer).iter_errors(document))
    return f"{list(errors[0].absolute_path)}: {errors[0].message[:300]}" if errors else None


@contextmanager
def github_api() -> Iterator[GitHubApi]:
    """The API on 127.0.0.1 for the time of the block; it must have been asked nothing that GitHub does not describe."""
    api = GitHubApi()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            document = json.loads(self.rfile.read(length)) if length else None
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), document, token)
            try:
                if not parts.path.startswith("/store/"):
                    self._check_headers()
                status, headers, made = api.answer(asked)
            except Refused as refused:
                status, headers, made = refused.status, {}, {"message": str(refused)}
            except AssertionError as wrong:
                api.misfits.append(f"{asked.method} {asked.path}: {wrong!r}")
                status, headers, made = 500, {}, {"message": "the tests' server is wrong"}
            data = made if isinstance(made, bytes) else json.dumps(made).encode() if made is not None else b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815, http.server's names

        def _check_headers(self) -> None:
            if not self.headers.get("User-Agent") or self.headers.get("Accept") != "application/vnd.github+json":
                raise Refused(403, "Request forbidden by administrative rules: User-Agent, Accept")
            if self.headers.get("X-GitHub-Api-Version") != "2022-11-28":
                raise Refused(400, "an API version that does not exist")

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert api.misfits == [], api.misfits
