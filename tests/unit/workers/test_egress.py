"""Which addresses are public, what the allow-list opens, and which URLs are refused as such."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from orchestrator.adapters.http.client import egress, refused_url
from orchestrator.errors import SettingsError
from orchestrator.models.egress import Egress, is_public, read_openings, rules
from orchestrator.settings import Broker, Database, Redis, Settings
from orchestrator.settings import Egress as Section

PRIVATE = """
    127.0.0.1 127.255.255.254 ::1 0.0.0.0 0.1.2.3 :: 10.0.0.1 10.255.255.255 172.16.0.1
    172.31.255.255 192.168.0.1 169.254.0.1 169.254.169.254 100.64.0.1 100.127.255.255
    100.100.100.200 192.0.0.1 192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255
    198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
    fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 fdff::1 ff02::1 100::1 5f00::1 4000::1
    2001:db8::1 3fff::1 2001:10::1 2001:2::1 64:ff9b:1::1 ::ffff:127.0.0.1
    ::ffff:169.254.169.254 ::127.0.0.1 ::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::7f00:1
    2002:a9fe:a9fe::1 2002:7f00:1:: 2001:0:7f00:1::1 2001:0:808:808:0:0:80ff:fffe
""".split()
PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1
    169.253.0.1 172.15.0.1 172.32.0.1 192.0.1.1 192.167.0.1 192.169.0.1 198.17.0.1 198.20.0.1
    223.255.255.255 2606:4700::1111 2a00:1450::1 2600:: ::ffff:8.8.8.8 64:ff9b::808:808
    2002:808:808::1 2001:4860:4860::8888
""".split()


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_public_is_refused_however_it_is_written(text: str) -> None:
    assert not is_public(ip_address(text))
    why = Egress().refusal("name.example", ip_address(text), 443)
    assert why is not None
    assert "ZQ_EGRESS__ALLOW" in why
    assert str(ip_address(text)) in why


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_may_be_called(text: str) -> None:
    assert is_public(ip_address(text))
    assert Egress().refusal("name.example", ip_address(text), 443) is None


@pytest.mark.parametrize("port", [0, 22, 25, 2375, 5432, 6379, 11211, 27017])
def test_ports_of_other_protocols_are_refused_unless_named(port: int) -> None:
    address = ip_address("8.8.8.8")
    assert "no port for HTTP" in (Egress().refusal("h.example", address, port) or "")
    if port:
        assert rules(f"h.example:{port}").refusal("h.example", address, port) is None
    assert rules("h.example").refusal("h.example", address, port) is not None


@pytest.mark.parametrize(
    ("allow", "host", "address", "port", "open_"),
    [
        ("10.0.0.0/8", "a", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "a", "11.1.2.3", 80, True),
        ("10.0.0.0/8", "a", "192.168.0.1", 80, False),
        ("10.0.0.0/8:8080", "a", "10.1.2.3", 80, False),
        ("10.0.0.0/8:8080", "a", "10.1.2.3", 8080, True),
        ("127.0.0.1:9000", "a", "127.0.0.2", 9000, False),
        ("127.0.0.1:9000", "a", "::ffff:127.0.0.1", 9000, True),
        ("[fd00::1]:443", "a", "fd00::1", 443, True),
        ("[fd00::1]:443", "a", "fd00::1", 80, False),
        ("fd00::/8", "a", "fd00::9", 80, True),
        ("CRM.Internal.", "crm.internal", "10.0.0.1", 80, True),
        ("crm.internal", "crm.internal.", "10.0.0.1", 80, True),
        ("crm.internal", "evil-crm.internal", "10.0.0.1", 80, False),
        ("crm.internal", "crm.internal.evil.example", "10.0.0.1", 80, False),
        ("internal", "crm.internal", "10.0.0.1", 80, False),
        (" 10.0.0.1 , crm:81 ", "crm", "192.168.1.1", 81, True),
        # Names and wide networks never open what hands out credentials.
        ("0.0.0.0/0", "a", "169.254.169.254", 80, False),
        ("169.254.0.0/16", "a", "169.254.169.254", 80, False),
        ("::/0", "a", "fd00:ec2::254", 80, False),
        ("evil.example", "evil.example", "169.254.169.254", 80, False),
        ("169.254.169.254", "a", "169.254.169.254", 80, True),
        ("0.0.0.0/0", "a", "64:ff9b::a9fe:a9fe", 80, False),
    ],
)
def test_the_allow_list_opens_what_it_names(
    allow: str, host: str, address: str, port: int, open_: bool
) -> None:
    refusal = rules(allow).refusal(host, ip_address(address), port)
    assert (refusal is None) is open_, refusal


@pytest.mark.parametrize(
    "text",
    ["*", "*.internal", "10.0.0.0/33", "http://crm", "crm:0", "crm:99999", "[::1", "a b", "127.1",
     "10.0.0.1/8", "crm:x", "-x", "/", "user@host"],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_names_the_setting(text: str) -> None:
    with pytest.raises(SettingsError, match="ZQ_EGRESS__ALLOW"):
        read_openings(text)


def configured(**more: str) -> Settings:
    return replace(
        Settings(),
        database=Database(url="postgresql://zq:pw@db.internal:6543,db2.internal/zq?port=7000,"),
        redis=Redis(url="rediss://:pw@10.0.0.9"),
        broker=Broker(url="redis://cache:6400/1"),
        egress=Section(**more),
    )


@pytest.mark.parametrize("port", [6543, 5432, 7000, 6379, 6400])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.9", "::1", "::ffff:10.0.0.9"])
def test_nothing_opens_this_installations_own_servers(port: int, address: str) -> None:
    wide = egress(configured(allow=f"0.0.0.0/0,::/0,127.0.0.1:{port},db.internal:{port}"))
    why = wide.refusal("db.internal", ip_address(address), port)
    assert "a server of this installation" in (why or "")
    assert wide.refusal("db.internal", ip_address(address), 8000) is None


def test_a_wrong_proxy_is_refused_at_start() -> None:
    assert egress(configured(proxy="http://proxy:3128")).proxy == "http://proxy:3128"
    for wrong in ("proxy:3128", "socks5://proxy", "http://"):
        with pytest.raises(SettingsError, match="ZQ_EGRESS__PROXY"):
            egress(configured(proxy=wrong))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://h/", "dict://h:11211/", "ftp://h/", "data:text/plain,x",
        "jar:http://h!/", "unix:///var/run/docker.sock", "http+unix://%2fvar%2frun/", "ldap://h",
        "javascript:1", "//h/", "h", "", "http:", "http://", "http:///x", "http:/h/", "http:h",
        "http://ok@evil/", "http://ok:pw@evil/", "http://@evil/", "http://ok%40evil/",
        "http://ok\\@evil/", "http:\\\\evil/", "http://ok/\\evil", "http://a\tb/", "http://a\nb/",
        "http://a\r\nX: y/", " http://h/", "http://h /", "http://h\x00/", "http://h\x7f/",
        "http://h:99999/", "http://h:0/", "http://h:-1/", "http://h:1:2/", "http://[::1/",
        "http://[::1%25eth0]x/", "http://[fe80::1%25eth0]/", "http://127%2e0.0.1/", "http://h%00/", "http://0x7f000001/",
        "http://2130706433/", "http://127.1/", "http://0177.0.0.1/", "http://0/", "http://1.2.3.4.5/",
        "http://0x7f.1/", "http://127.0.0.0x1/", "http://a..b/", "http://.a/", "http://-a/",
        "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "http://" + "a" * 300 + "/",
    ],
)  # fmt: skip
def test_urls_that_are_refused_whatever_the_address(url: str) -> None:
    assert refused_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org", "https://example.org:8443/a%20b?q=a\\b c#d@e", "HTTP://EXAMPLE.ORG/",
        "http://8.8.8.8/", "http://[2606:4700::1111]:8080/", "http://my_service.local./x",
        "http://b\u00fccher.example/", "http://xn--bcher-kva.example/", "http://ok#@evil",
        "http://a-b.c9/",
    ],
)  # fmt: skip
def test_urls_that_are_looked_up(url: str) -> None:
    assert refused_url(url) is None
