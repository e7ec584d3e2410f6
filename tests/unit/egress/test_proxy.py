"""The proxy's configuration, and what of a host keeps an egress policy from it."""

from __future__ import annotations

from typing import Any

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost
from bulkhead.look import FoundFile, Look, Output
from deploys.egress import omissions, proxy

PASSWD = "root:x:0:0:root:/root:/bin/bash\nproxy:x:13:13:proxy:/bin:/usr/sbin/nologin\n_apt:x:42:65534::/:/bin/false\n"


def legacy(**egress: Any) -> InventoryHost:
    data = {"engines": ["docker"], "egress": {"management": ["192.0.2.0/24"], **egress}}
    return InventoryHost("old-1", frozenset({"legacy_hosts"}), data)


def look(passwd: str = PASSWD, cloud: str = "", routers: str = "") -> Look:
    said = {"egress.cloud": cloud, "egress.routers": routers}
    outputs = {name: Output(0, text.encode(), b"") for name, text in said.items()}
    return Look({"/etc/passwd": FoundFile("file", passwd.encode(), 0o644, "root", "root")}, outputs)


AGENTS = {
    "alpha": {
        "subnet4": "172.30.1.0/24",
        "subnet6": "fd42:1::/64",
        "names": {"api.example.com": [443, 80], ".example.org": [443], "www.example.org": [443]},
    },
    "beta": {"subnet4": "172.30.2.0/24"},
}


def test_an_agent_gets_its_own_names_on_their_ports() -> None:
    text = proxy.files(legacy(agents=AGENTS))["/etc/squid/bulkhead.conf"].decode()
    lines = text.splitlines()
    assert "acl agent_alpha src 172.30.1.0/24 fd42:1::/64" in lines
    assert "acl agent_alpha_names_80 dstdomain -n api.example.com" in lines
    assert "acl agent_alpha_names_443 dstdomain -n .example.org api.example.com" in lines
    allowed = [line for line in lines if line.startswith("http_access")]
    assert allowed == [
        "http_access deny manager",
        "http_access deny !web !tunnel",
        "http_access allow agent_alpha agent_alpha_port_80 agent_alpha_names_80 !denied",
        "http_access allow agent_alpha agent_alpha_port_443 agent_alpha_names_443 !denied",
        "http_access deny all",
    ]
    assert "beta" not in text


def test_it_asks_the_name_servers_and_not_the_range_that_they_are_in() -> None:
    def asked(*resolvers: str) -> list[str]:
        text = proxy.files(legacy(agents=AGENTS, resolvers=[*resolvers]))["/etc/squid/bulkhead.conf"].decode()
        return [line for line in text.splitlines() if line.startswith("dns_nameservers")]

    assert asked("2001:db8::53", "198.51.100.53") == ["dns_nameservers 198.51.100.53 2001:db8::53"]
    assert asked("198.51.100.53", "198.51.100.0/24") == ["dns_nameservers 198.51.100.53"]
    assert asked("198.51.100.0/24") == []


def test_no_proxy_without_names() -> None:
    assert proxy.files(legacy(agents={"beta": AGENTS["beta"]})) == {}


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (["b.example.com", "a.example.com"], ["a.example.com", "b.example.com"]),
        ([".example.com", "a.example.com", "example.com", "b.a.example.com"], [".example.com"]),
        ([".example.com", ".a.example.com"], [".example.com"]),
        ([".example.com", "notexample.com"], [".example.com", "notexample.com"]),
    ],
)
def test_a_name_that_another_covers_is_left_out(names: list[str], left: list[str]) -> None:
    assert proxy.distinct(names) == left


def refused(host: InventoryHost, there: Look) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        omissions.refuse(host, there)
    return error.value


@pytest.mark.parametrize(("cloud", "name"), [("aws", "aws"), ("gce", "google"), ("aliyun", "alibaba")])
def test_a_cloud_host_keeps_its_metadata(cloud: str, name: str) -> None:
    """Without it cloud-init takes the next boot for that of a new host (canonical/cloud-init#6270)."""
    error = refused(legacy(), look(cloud=f"{cloud}\n"))
    assert error.message.startswith(f"cloud-init reads this host's metadata ({name})")
    assert error.hint == (f"Add {name!r} to egress.metadata (root alone gets it), or disable cloud-init on the host.")
    omissions.refuse(legacy(metadata=[name]), look(cloud=cloud))


@pytest.mark.parametrize("cloud", ["", "nocloud", "none"])
def test_a_host_without_a_cloud_needs_none(cloud: str) -> None:
    omissions.refuse(legacy(), look(cloud=cloud))


def test_a_route_from_a_router_is_not_lost() -> None:
    error = refused(legacy(agents=AGENTS), look(routers="eth0\n"))
    assert error.message.startswith("eth0: the default IPv6 route comes from a router")
    omissions.refuse(legacy(agents={"beta": AGENTS["beta"]}), look(routers="eth0\n"))


def test_apt_s_user_of_another_number() -> None:
    mirror = {"to": "198.51.100.80", "ports": [80], "user": 42}
    other = PASSWD.replace(":42:", ":105:")
    error = refused(legacy(host=[mirror]), look(other))
    assert error.message == "apt fetches as _apt, which has the uid 105 on this host, and egress.host names 42"
    assert error.hint == "Say user = 105 for this host."
    omissions.refuse(legacy(host=[mirror]), look())
    omissions.refuse(legacy(host=[{**mirror, "user": 105}]), look(other))
