"""The drill's own servers: what they keep over a stop, and that they go when their owner does, however it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from reconciler.drill import queues
from reconciler.drill.provider import running_provider
from reconciler.drill.redis_server import RedisServer, running_redis
from tests.support.cli import clean_environment
from tests.support.waiting import wait_until

OWNER = """\
import sys
from reconciler.drill.redis_server import RedisServer
server = RedisServer()
server.start()
print(server.port, server.folder, flush=True)
sys.stdin.read()
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_whose_owner_was_killed_goes_and_so_does_its_folder() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(
        command, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        port, folder = owner.stdout.readline().split()
        assert listens(int(port))
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not listens(int(port)) and not Path(folder).exists())


def test_jobs_outlive_a_stop_where_the_server_keeps_them_and_a_second_stop_does_nothing() -> None:
    with running_redis(appendonly="yes", appendfsync="always") as server:
        with server.client() as client:
            queues.wait(client, "mail", 3)
        server.stop()
        server.stop()
        assert not listens(server.port)
        server.start()
        with server.client() as client:
            assert client.llen("bull:mail:wait") == 3
            queues.drain(client, "mail")
            assert client.llen("bull:mail:wait") == 0
    assert not server.folder.exists()


def test_a_job_is_found_by_its_id_whatever_the_prefix() -> None:
    with running_redis() as server, server.client() as client:
        client.hset("{q}:mail:4711", mapping={"name": "SEND", "data": "{}"})
        assert queues.job_of(client, "mail", "4711") == {"name": "SEND", "data": "{}"}
        assert queues.job_of(client, "mail", "4712") is None


def test_closing_twice_is_once() -> None:
    server = RedisServer()
    server.start()
    server.close()
    server.close()
    assert not server.is_running


@pytest.mark.parametrize("through_proxy", [False, True])
def test_the_provider_answers_as_it_was_told_and_takes_what_would_leave_the_machine(through_proxy: bool) -> None:
    with running_provider() as provider:
        provider.statuses["models"] = 503
        proxies = {"http": provider.address} if through_proxy else {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
        url = "http://drill.invalid/hook" if through_proxy else provider.url("models")
        if through_proxy:
            assert opener.open(url, data=b"{}").status == 204
            return
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(url)
        assert refused.value.code == 503
        refused.value.close()
