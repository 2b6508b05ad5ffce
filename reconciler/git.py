"""The git program, as a process: what it is started with, how its objects are read, what its failures mean.

Takes a directory; gives the output of single commands (`Git.run`, `Git.output`) and the objects of its repository
(`Git.read`), and turns what git prints when it gives up into an error that says what to do.

It is here, instead of a library, because `git` answers in a millisecond or two and is on every machine that has a
clone, where importing a library costs sixty. The path that flips one switch starts three processes: `rev-parse`,
`status`, and one `cat-file --batch` that is kept and asked for everything else, the commit, its trees and its files.
Objects are asked for by their id alone, so no path, however odd, ever stands in that protocol.

**The directory decides which repository is meant.** Variables such as GIT_DIR, GIT_WORK_TREE and GIT_INDEX_FILE,
which git sets for its hooks, are not passed on, as githooks(5) advises: a hook of one repository may run this tool on
another's directory, and with GIT_DIR alone git takes any sub-directory for the top of the work tree. What configures
git (GIT_CONFIG_*, HOME, GIT_SSH_COMMAND, GIT_CEILING_DIRECTORIES) is passed on as it is.

**An id means what its hash says.** Replacements (`git replace`) and grafts exist in one clone alone; following them
would apply a content that nobody else finds under the commit that the audit entry names. They are switched off.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from reconciler.errors import Failed, ReconcileError, Refused

__all__ = ["Git", "GitObject", "NotARepository", "explain", "without_credentials"]

_NOT_PASSED_ON = frozenset(
    {
        # `git rev-parse --local-env-vars`, without those that carry configuration
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_OBJECT_DIRECTORY",
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_GRAFT_FILE",
        "GIT_INDEX_FILE",
        "GIT_REPLACE_REF_BASE",
        "GIT_PREFIX",
        "GIT_SHALLOW_FILE",
        "GIT_COMMON_DIR",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        # what contradicts GIT_LITERAL_PATHSPECS
        "GIT_GLOB_PATHSPECS",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_ICASE_PATHSPECS",
    }
)

_ALWAYS = {
    "GIT_OPTIONAL_LOCKS": "0",  # `status` would write the index, and get in the way of the user's own git
    "LC_ALL": "C",  # failures are told apart by git's words
    "GIT_TERMINAL_PROMPT": "0",  # a partial clone may fetch; it must not wait for a password
    "GIT_PAGER": "cat",
    "GIT_LITERAL_PATHSPECS": "1",  # a folder's name is a name, whatever it holds
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
}

_REQUEST_BYTES = 4096
"""So much is asked of `cat-file` before its answers are read. It fits into any system's pipe, so the write never
waits for git to read while git waits for its answers to be read."""

_PIECE_BYTES = 1 << 20

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s']+@")


class NotARepository(Refused):
    """The directory is in no work tree of git. What can do without commits may go on; an apply cannot."""


class GitObject(msgspec.Struct, frozen=True, gc=False):
    """What `cat-file` answers. `kind` is commit, tree, blob or tag, or missing or ambiguous (then `id` is empty).

    `data` is None for an object that was not there, and for one of more bytes (`size`) than the caller wanted.
    """

    id: str
    kind: str
    size: int
    data: bytes | None


class Git:
    """The git program in one directory. It is ended with `close`, or when the object is collected."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._environment = {name: text for name, text in os.environ.items() if name not in _NOT_PASSED_ON} | _ALWAYS
        self._objects: _ObjectReader | None = None
        self._begun: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        weakref.finalize(self, _end_what_was_begun, self._begun)

    def begin(self, *arguments: str) -> None:
        """Start a command whose answer will be asked for later, in the same words, while there is other work to do.

        Its answer is of now: what is changed meanwhile is not in it.
        """
        self._begun[arguments] = self._start(arguments, subprocess.DEVNULL)

    def begin_to_read(self) -> None:
        """Start the process that reads objects."""
        self._objects = self._reader()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run one command to its end, whatever its exit code is. Raises Failed where there is no git program."""
        with self._begun.pop(arguments, None) or self._start(arguments, subprocess.DEVNULL) as process:
            try:
                out, err = process.communicate()
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def feed(self, data: bytes, *arguments: str, index: Path | None = None) -> bytes:
        """What one command prints that reads `data`; `index` takes the place of the repository's own index."""
        variables = {"GIT_INDEX_FILE": os.fspath(index)} if index is not None else {}
        with self._start(arguments, subprocess.PIPE, variables) as process:
            try:
                out, err = process.communicate(data)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise explain(err, self.directory)
        return out

    def run_over_network(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        """Run one command that may wait for a server: nobody is asked for a password, and it ends within the time.

        Its exit code is 124 where the time was over. It has no terminal, so ssh cannot ask either.
        """
        quiet = {"SSH_ASKPASS_REQUIRE": "never", "GCM_INTERACTIVE": "never"}
        with self._start(arguments, subprocess.DEVNULL, quiet, alone=True) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
                code = process.returncode
            except subprocess.TimeoutExpired:
                _end_all(process)
                out, err = process.communicate()
                code, err = 124, f"fatal: no answer within {timeout_s:g} s".encode()
            except BaseException:
                _end_all(process)
                raise
        return subprocess.CompletedProcess(process.args, code, out, err)

    def output(self, *arguments: str) -> bytes:
        """What one command prints. Raises what `explain` makes of its failure."""
        done = self.run(*arguments)
        if done.returncode != 0:
            raise explain(done.stderr, self.directory)
        return done.stdout

    def read(self, names: Sequence[str], max_bytes: int) -> Iterator[GitObject]:
        """The objects of these names (no line break in them), in their order; larger ones without their data."""
        if self._objects is None or not self._objects.usable:
            self._objects = self._reader()
        return self._objects.read(names, max_bytes)

    def _reader(self) -> _ObjectReader:
        return _ObjectReader(self._start(("cat-file", "--batch"), subprocess.PIPE), self.directory)

    def complaint(self) -> str:
        """What git has said on its error stream while objects were read; ends that process to have all of it."""
        return self._objects.complaint() if self._objects is not None else ""

    def close(self) -> None:
        """End the process that reads objects, and what was begun. Reading again starts another."""
        if self._objects is not None:
            self._objects.close()
        _end_what_was_begun(self._begun)

    def _start(
        self, arguments: Sequence[str], stdin: int, variables: Mapping[str, str] | None = None, *, alone: bool = False
    ) -> subprocess.Popen[bytes]:
        """`alone`: in a session of its own, so that it can be ended with all that it has started."""
        # core.fsmonitor may name a program that says which files changed: it costs a start, and can be wrong.
        # Without grafts (see _ALWAYS) git would advise against their file, in everything it says.
        settings = ["-c", "core.fsmonitor=false", "-c", "advice.graftFileDeprecated=false"]
        command = ["git", "--no-pager", "-C", os.fspath(self.directory), *settings, *arguments]
        environment = self._environment | dict(variables or {})
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                command,
                bufsize=1 << 16,
                stdin=stdin,
                stdout=pipe,
                stderr=pipe,
                env=environment,
                start_new_session=alone,
            )
        except (FileNotFoundError, PermissionError):
            raise Failed(
                "the git program is not installed, or not on PATH. Install git 2.18 or newer (`apt-get install git`, "
                "`dnf install git`, `brew install git`), or add its folder to PATH."
            ) from None


def _end_what_was_begun(begun: dict[tuple[str, ...], subprocess.Popen[bytes]]) -> None:
    while begun:
        _, process = begun.popitem()
        process.kill()
        process.communicate()


class _ObjectReader:
    """One `git cat-file --batch`: names go in by lines, objects come out in the same order."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._requests, self._answers, self._directory = process.stdin, process.stdout, directory
        self._complaints: list[bytes] = []
        # Read beside the answers: git would stop at a full error pipe, and this side would wait for its answer.
        listener = threading.Thread(target=self._complaints.extend, args=(process.stderr,), daemon=True)
        listener.start()
        self._end = weakref.finalize(self, _end, process, listener)
        self.usable = True

    def read(self, names: Sequence[str], max_bytes: int) -> Iterator[GitObject]:
        self.usable = False  # until the last answer is read: what is given up half-way cannot be asked again
        try:
            for request, count in _requests(names):
                self._requests.write(request)
                self._requests.flush()
                for _ in range(count):
                    yield self._next(max_bytes)
            self.usable = True
        except BrokenPipeError:
            raise self._gave_up() from None
        finally:
            if not self.usable:
                self.close()

    def _next(self, max_bytes: int) -> GitObject:
        header = self._answers.readline()
        if not header.endswith(b"\n"):
            raise self._gave_up()
        name, _, rest = header[:-1].rpartition(b" ")
        if not rest.isdigit():  # "<name> missing", "<name> ambiguous"; newer versions have more such words
            return GitObject("", rest.decode("ascii", "replace"), 0, None)
        identity, _, kind = name.partition(b" ")
        size = int(rest)
        data = self._answers.read(size) if size <= max_bytes else None
        unread = size - len(data) if data is not None else size
        while unread > 0:  # too large for the caller, or git has died and nothing more comes
            piece = self._answers.read(min(unread, _PIECE_BYTES))
            if not piece:
                raise self._gave_up()
            unread -= len(piece)
        if self._answers.read(1) != b"\n":
            raise self._gave_up()
        return GitObject(identity.decode("ascii"), kind.decode("ascii"), size, data)

    def _gave_up(self) -> ReconcileError:
        self.close()
        return explain(b"".join(self._complaints), self._directory)

    def complaint(self) -> str:
        self.close()
        return b"".join(self._complaints).decode("utf-8", "replace")

    def close(self) -> None:
        self.usable = False
        self._end()


def _requests(names: Sequence[str]) -> Iterator[tuple[bytes, int]]:
    """Lines of names, at most _REQUEST_BYTES of them at a time (or one name), and how many there are."""
    lines: list[bytes] = []
    size = 0
    for name in names:
        line = os.fsencode(name) + b"\n"
        if lines and size + len(line) > _REQUEST_BYTES:
            yield b"".join(lines), len(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines), len(lines)


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started alone, with what it has started itself (ssh)."""
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes], listener: threading.Thread) -> None:
    """End a reader: at the end of its input git leaves by itself; one that still waits for a network is stopped."""
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:
            pass  # the request that git did not live to read
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    listener.join(timeout=1)
    if process.stderr is not None and not listener.is_alive():
        process.stderr.close()


def without_credentials(text: str) -> str:
    """The text with user and password taken out of every address in it."""
    return _CREDENTIALS.sub("", text)


def explain(stderr: bytes, directory: Path) -> ReconcileError:
    """What git's own words mean for the user: what is wrong with the repository of `directory`, and what to do."""
    text = without_credentials(stderr.decode("utf-8", "replace"))
    trust = re.search(r"git config --global --add safe\.directory .+", text)
    if trust:
        return Failed(
            f"git does not trust the repository of {directory}, because another user owns it. If you trust it, run "
            f"`{trust[0].strip()}` and try again."
        )
    if "not a git repository" in text:
        return _not_a_repository(text, directory)
    said = [line for line in text.splitlines() if line.startswith(("fatal:", "error:", "remote: "))]
    words = "; ".join(dict.fromkeys(said)) or text.strip() or "git ended without a word"
    if "promisor" in text:
        return Failed(
            f"the clone of {directory} is partial, and what it lacks could not be fetched ({words}). Make its remote "
            "reachable, or complete the clone with `git fetch --refetch --no-filter`, or clone again without --filter."
        )
    return Failed(
        f"git cannot read the repository of {directory} ({words}). See what `git -C {directory} fsck` says; where the "
        "repository is damaged, clone it again."
    )


def _not_a_repository(text: str, directory: Path) -> NotARepository:
    lost = re.search(r"not a git repository: (.+)", text)
    if lost:
        return NotARepository(
            f"{directory} belongs to a git repository that is not where its .git file says ({lost[1].strip()}). Run "
            "`git worktree repair` in the main work tree (`git submodule update --init` for a submodule), or clone it "
            "again."
        )
    return NotARepository(
        f"{directory} is not in a git repository. Run this in a clone, name one with --directory, or make one with "
        f"`git init {directory}`."
        + (" (GIT_DIR is set, but the directory decides which repository is read.)" if "GIT_DIR" in os.environ else "")
    )
