"""What people put into DATABASE_URL is understood, or refused with a hint, and its password is never shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import pq

from reconciler.database.address import DatabaseAddress, Host
from reconciler.database.url import parse_database_url, read_environment
from reconciler.errors import UsageProblem


def parse(text: str) -> DatabaseAddress:
    return parse_database_url(text, variable="DATABASE_URL")


def as_libpq_reads_it(address: DatabaseAddress) -> dict[str, str]:
    host = address.hosts[0] if address.hosts else None
    options = pq.Conninfo.parse(address.conninfo(host).encode())
    return {option.keyword.decode(): option.val.decode() for option in options if option.val is not None}


def test_the_poolers_url_as_the_platform_gives_it_is_understood() -> None:
    address = parse(
        "postgresql://postgres.abcd:s3cret@aws-0.pooler.example.com:6543/postgres?pgbouncer=true&connection_limit=1"
    )
    assert address.hosts == (Host("aws-0.pooler.example.com", 6543),)
    assert (address.user, address.password, address.dbname) == ("postgres.abcd", "s3cret", "postgres")
    assert address.pooled
    assert address.parameters == {}
    assert address.notes == ("DATABASE_URL: ignored, because only Prisma knows them: connection_limit",)
    assert address.safe == "postgresql://postgres.abcd@aws-0.pooler.example.com:6543/postgres"


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "PostgreSQL", "postgresql+psycopg", "postgresql+asyncpg", "jdbc:postgresql"]
)
def test_every_spelling_of_the_scheme_leads_to_the_same_place(scheme: str) -> None:
    address = parse(f"{scheme}://me:pw@db.example:5433/shop")
    assert as_libpq_reads_it(address) == {
        "host": "db.example",
        "port": "5433",
        "user": "me",
        "password": "pw",
        "dbname": "shop",
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("p%40ss%2Fw%23rd", "p@ss/w#rd"),
        ("p@ss", "p@ss"),
        ("p@ss/w#rd?x", "p@ss/w#rd?x"),
        ("p#ss", "p#ss"),
        ("p/ss", "p/ss"),
        ("p?ss", "p?ss"),
        ("p:ss:", "p:ss:"),
        ("100%", "100%"),
        ("50%zz", "50%zz"),
        ("%41%zz", "%41%zz"),
        ("a%ff", "a%ff"),
        ("a%00", "a%00"),
        ("a+b", "a+b"),
        ("it's\\here", "it's\\here"),
        ("p@ss?word=x", "p@ss?word=x"),
        ("12345/x", "12345/x"),
        ("two words", "two words"),
        ("@@", "@@"),
        ("", ""),
    ],
)
def test_a_password_is_understood_encoded_or_as_it_was_pasted(written: str, meant: str) -> None:
    address = parse(f"postgresql://me:{written}@db.example:5432/shop?sslmode=require")
    assert address.password == meant
    assert address.user == "me"
    assert address.hosts == (Host("db.example", 5432),)
    assert as_libpq_reads_it(address).get("password", "") == meant
    assert as_libpq_reads_it(address)["sslmode"] == "require"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_encoded_password_comes_out_as_it_went_in_and_is_printed_nowhere(password: str) -> None:
    marked = f"Zq{password}qZ"
    address = parse(f"postgresql://me:{quote(marked, safe='')}@db.example/shop")
    assert address.password == marked
    assert as_libpq_reads_it(address)["password"] == marked
    assert marked not in address.redact(f"libpq says: {marked} and {address.conninfo(None)}")
    for shown in (address.safe, repr(address), str(address), f"{address}", *address.notes):
        assert marked not in shown


@given(st.text("ab1@/?#%:&= []", max_size=12))
def test_any_pasted_password_is_either_understood_or_refused_but_never_shown(password: str) -> None:
    marked = f"Zq{password}qZ"
    try:
        address = parse(f"postgresql://me:{marked}@db.example:5432/shop")
    except UsageProblem as problem:
        assert marked not in str(problem)
        assert "Zq" not in str(problem)
    else:
        assert "Zq" not in address.safe
        assert all("Zq" not in note for note in address.notes)
        assert address.hosts[-1].name == "db.example"


def test_an_at_sign_in_a_parameter_is_not_taken_for_the_end_of_the_password() -> None:
    address = parse("postgresql://me:pw@db.example/shop?application_name=team@corp")
    assert (address.password, address.hosts[0].name) == ("pw", "db.example")
    assert address.parameters == {"application_name": "team@corp"}


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("postgresql://db.example", [Host("db.example", 5432)]),
        ("postgresql://[::1]:5433/x", [Host("::1", 5433)]),
        ("postgresql://u:p@[2001:db8::5]/x", [Host("2001:db8::5", 5432)]),
        ("postgresql://a:1,b:2,[::1]:3/x", [Host("a", 1), Host("b", 2), Host("::1", 3)]),
        ("postgresql://u@%2Fvar%2Frun%2Fpostgresql:5433/x", [Host("/var/run/postgresql", 5433)]),
        ("postgresql:///x?host=/var/run/postgresql", [Host("/var/run/postgresql", 5432)]),
        ("postgresql:///x?host=a,b&port=7", [Host("a", 7), Host("b", 7)]),
        ("postgresql:///x", []),
        ("host=a,b port=1,2 hostaddr=10.0.0.1,10.0.0.2", [Host("a", 1, "10.0.0.1"), Host("b", 2, "10.0.0.2")]),
        ("hostaddr=10.0.0.1", [Host("", 5432, "10.0.0.1")]),
        ("dbname=x", []),
    ],
)
def test_hosts_are_names_addresses_sockets_and_lists_of_them(text: str, hosts: list[Host]) -> None:
    assert list(parse(text).hosts) == hosts


def test_libpqs_key_value_form_is_understood_with_prismas_parameters_in_it() -> None:
    address = parse(r"host=db.example port = 6543 user='me too' password='it\'s # 1' dbname=shop pgbouncer=true")
    assert address.pooled
    assert as_libpq_reads_it(address) == {
        "host": "db.example",
        "port": "6543",
        "user": "me too",
        "password": "it's # 1",
        "dbname": "shop",
    }


def test_the_printed_form_is_a_url_for_every_kind_of_host() -> None:
    assert parse("postgresql://u:p@[::1]:5433/x").safe == "postgresql://u@[::1]:5433/x"
    assert parse("postgresql://u:p@a,b:2/x").safe == "postgresql://u@a:5432,b:2/x"
    assert parse("postgresql:///x?host=/run/pg&port=7&user=u").safe == "postgresql://u@/x?host=/run/pg&port=7"
    assert parse("dbname=x password=p").safe == "postgresql:///x"


def test_a_port_without_a_host_stays_with_libpqs_default_host() -> None:
    assert as_libpq_reads_it(parse("postgresql://:5433/x")) == {"port": "5433", "dbname": "x"}


def test_schema_becomes_a_search_path_and_is_not_sent() -> None:
    for text in ("schema=shop", "currentSchema=shop", "options=-c%20search_path%3Dshop", "options=-csearch_path=shop"):
        address = parse(f"postgresql://db.example/x?{text}")
        assert address.search_path == ("shop",)
        assert address.parameters == {}


def test_settings_in_options_are_dropped_with_a_note_and_a_routers_words_are_kept() -> None:
    dropped = parse("postgresql://db.example/x?options=-c%20work_mem%3D1GB")
    assert dropped.parameters == {}
    assert "poolers refuse" in dropped.notes[0]
    assert parse("postgresql://db.example/x?options=endpoint%3Dep-1").parameters == {"options": "endpoint=ep-1"}


def test_prismas_parameters_are_dropped_in_one_note() -> None:
    address = parse(
        "postgresql://db.example/x?connection_limit=1&pool_timeout=0&socket_timeout=5&statement_cache_size=0"
    )
    assert address.parameters == {}
    assert len(address.notes) == 1
    assert "connection_limit, pool_timeout, socket_timeout, statement_cache_size" in address.notes[0]


def test_connect_timeout_means_seconds_and_zero_no_limit() -> None:
    assert parse("postgresql://db.example/x?connect_timeout=7").connect_timeout_s == 7
    assert parse("postgresql://db.example/x?connect_timeout=0").connect_timeout_s is None
    assert parse("postgresql://db.example/x?connect_timeout=soon").connect_timeout_s is None
    assert "connect_timeout" not in parse("postgresql://db.example/x?connect_timeout=7").parameters


def test_tls_parameters_pass_through() -> None:
    address = parse("postgresql://db.example/x?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c&sslkey=/k")
    assert address.parameters == {
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
        "sslcert": "/c",
        "sslkey": "/k",
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ssl=true", {"sslmode": "require"}),
        ("sslmode=no-verify", {"sslmode": "require"}),
        ("sslaccept=strict", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslaccept=strict&sslcert=/ca.pem", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
        ("sslmode=require&sslaccept=accept_invalid_certs", {"sslmode": "require"}),
    ],
)
def test_tls_in_the_words_of_other_drivers_is_said_in_libpqs(written: str, meant: dict[str, str]) -> None:
    assert parse(f"postgresql://db.example/x?{written}").parameters == meant


@pytest.mark.parametrize("parameter", ["sslmod=require", "sslmode=verify_full", "sslMode=require"])
def test_a_misspelt_tls_parameter_is_refused_and_not_dropped(parameter: str) -> None:
    with pytest.raises(UsageProblem, match=r"sslmode|verify-full"):
        parse(f"postgresql://db.example/x?{parameter}")


def test_an_unknown_parameter_is_dropped_with_a_note_that_names_the_nearest() -> None:
    address = parse("postgresql://db.example/x?aplication_name=y")
    assert address.parameters == {}
    assert address.notes == (
        'DATABASE_URL: the unknown parameter "aplication_name" is ignored (did you mean "application_name"?)',
    )


def test_a_replication_connection_is_never_asked_for() -> None:
    assert parse("postgresql://db.example/x?replication=database").parameters == {}


@pytest.mark.parametrize(
    "text",
    [
        " postgresql://u:p@h/x \n",
        '"postgresql://u:p@h/x"',
        "'postgresql://u:p@h/x'\r\n",
        "\ufeffpostgresql://u:p@h/x",
        "DATABASE_URL=postgresql://u:p@h/x",
        'export DATABASE_URL="postgresql://u:p@h/x"',
        "psql 'postgresql://u:p@h/x'",
    ],
)
def test_what_was_pasted_along_is_taken_off_with_a_note(text: str) -> None:
    address = parse(text)
    assert address.safe == "postgresql://u@h:5432/x"
    assert address.password == "p"
    assert address.notes


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "the value is empty"),
        (" \n", "the value is empty"),
        ("''", "the value is empty"),
        ("'postgresql://u:Zqpw@h/x", "quote that is not closed"),
        ("${DATABASE_URL}", "not expanded"),
        ("postgresql://u:Zq\npw@h/x", "line break"),
        ("u:Zqpw@h:5432/x", 'does not begin with "postgresql://"'),
        ("mysql://u:Zqpw@h/x", '"mysql" is not PostgreSQL'),
        ("https://u:Zqpw@h/x", '"https" is not PostgreSQL'),
        ("prisma+postgres://accelerate.example/?api_key=Zqpw", "Prisma Accelerate"),
        ("postgresql://u:[YOUR-PASSWORD]@h/x", "placeholder"),
        ("postgresql://u:<password>@h:Zqx/x", "port"),
        ("postgresql://u:Zqpw@h:54x2/x", "port"),
        ("postgresql://u:Zqpw@h:99999/x", "from 1 to 65535"),
        ("postgresql://u:Zqpw@::1/x", "brackets"),
        ("postgresql://u:Zqpw@[::1/x", "brackets"),
        ("postgresql://u:Zqpw@h/x/y", "cannot be split"),
        ("postgresql://u:Zqpw@h o/x", "cannot be split"),
        ("postgresql://u:Zqpw@a,,b/x", "no name"),
        ("postgresql:///x?host=a,b&port=1,2,3", "different lengths"),
        ("host=h password=Zq pw", "no ="),
        ("host=h password='Zqpw", "quote"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_hint_and_without_the_password(text: str, hint: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse(text)
    assert str(caught.value).startswith("DATABASE_URL: ")
    assert hint in str(caught.value)
    assert "Zq" not in str(caught.value)


def test_redaction_finds_the_password_decoded_encoded_and_quoted() -> None:
    address = parse("postgresql://u:it%27s%40me@h/x?sslpassword=t0psecret")
    text = address.redact("it's@me it%27s%40me it\\'s@me t0psecret u h x")
    assert text == "*** *** *** *** u h x"


def test_a_very_short_password_is_taken_out_as_a_word_only() -> None:
    assert parse("postgresql://u:a@h/x").redact("a car: a") == "*** car: ***"


def test_both_variables_are_tried_in_order() -> None:
    first, second = read_environment({"DATABASE_URL": "postgresql://h:6543/x", "DIRECT_URL": "postgresql://h/x"})
    assert (first.variable, first.hosts[0].port) == ("DATABASE_URL", 6543)
    assert (second.variable, second.hosts[0].port) == ("DIRECT_URL", 5432)


def test_the_same_address_twice_is_tried_once() -> None:
    assert len(read_environment({"DATABASE_URL": "postgresql://h/x", "DIRECT_URL": "postgresql://h/x "})) == 1


def test_direct_url_alone_is_used_with_a_note() -> None:
    (only,) = read_environment({"DATABASE_URL": "", "DIRECT_URL": "postgresql://h/x"})
    assert only.variable == "DIRECT_URL"
    assert only.notes == ("DATABASE_URL is not set: DIRECT_URL is used",)


def test_no_variable_at_all_is_said_with_what_to_set() -> None:
    with pytest.raises(UsageProblem, match=r"DATABASE_URL is not set: set it to .*postgresql://"):
        read_environment({})


def test_a_broken_direct_url_does_not_stop_a_sound_database_url() -> None:
    (only,) = read_environment({"DATABASE_URL": "postgresql://h/x", "DIRECT_URL": "mysql://u:Zqpw@h/x"})
    assert only.variable == "DATABASE_URL"
    assert only.notes == (
        'DIRECT_URL will not be tried: DIRECT_URL: "mysql" is not PostgreSQL: expected '
        "postgresql://user:password@host:port/database",
    )
