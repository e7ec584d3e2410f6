"""The world of the egress tests around a lab machine: a namespace in the machine, and the agents' real containers."""

from __future__ import annotations

import shlex
import uuid

from bulkhead.inventory_file import ROOT
from tests.egress.flows import Flow
from tests.egress.outcome import outcome
from tests.egress.world import BARE, PROBER, TCP, UDP, WAN4, WAN6, WORLD_SCRIPT, Place
from tests.lab.machine import Machine

DIRECTORY = "/var/tmp/egress"
IMAGE = "bulkhead.invalid/prober:1"
PYTHON = f"/usr/bin/python3 -S {DIRECTORY}/prober.py"

NAMES = {
    "api.example.com": ["203.0.113.10"],
    "rebinding.example.com": ["203.0.113.10", "10.66.0.5"],
    "private.example.com": ["10.66.0.5"],
    "other.example.com": ["203.0.113.10"],
}
"""Name → addresses, of which a resolver in the world gives the next one at each question."""

CONTAINERS = {"alpha": "alpha", "twin": "alpha", "beta": "beta", "other": "bridge"}
"""Container → Docker's network."""

TAKEN = (22, 3128, 8080)
"""Ports of the machine's own services, on which no echo can be: ssh, the proxy, what Docker publishes."""

SECONDS = 2.0
"""How long an answer may take on an emulated machine."""


class GuestWorld:
    """Places as `tests.egress.world.World` has them, by the same names."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.places: dict[str, Place] = {}

    def make(self) -> None:
        """Build the world and an image with Python in it; what is there from an earlier time goes first."""
        prober = PROBER.read_text()
        image = (ROOT / "tests" / "host" / "image.sh").read_text()
        self.remove()
        self.machine.sh(
            "command -v python3 >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy"
            f" --no-install-recommends python3-minimal libpython3-stdlib; }} >/dev/null\nmkdir -p {DIRECTORY}\n"
            f"cat >{DIRECTORY}/prober.py <<'END_OF_PROBER'\n{prober}\nEND_OF_PROBER\n"
            f"sh -s {DIRECTORY} {IMAGE} <<'END_OF_IMAGE'\n{image}\nEND_OF_IMAGE\n"
            f"docker load --quiet --input {DIRECTORY}/image.tar"
        )
        self.connect()

    def connect(self) -> None:
        """The link to the world, which a restart of the machine takes away."""
        self.machine.sh(
            "ip netns add world; ip link add wan0 type veth peer name eth0 netns world\n"
            f"ip address add {WAN4}/24 dev wan0; ip address add {WAN6}/64 dev wan0 nodad; ip link set wan0 up\n"
            f"ip -n world link set lo up; ip netns exec world sh -ec {shlex.quote(WORLD_SCRIPT)}\n"
            "ip route replace default via 192.0.2.1; ip -6 route replace default via 2001:db8::1\n"
            "ip address add 169.254.170.23/32 dev lo; ip address add fd00:ec2::23/128 dev lo nodad\n"
            "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
        )

    def start(self, runtime: str = "runc") -> None:
        """The agents' containers under a runtime, and a prober everywhere."""
        for name, network in CONTAINERS.items():
            published = "--publish 8080:8080" if name == "beta" else ""
            # The host's own Python, read-only: an image with one would have to be fetched.
            self.machine.sh(
                f"docker run --detach --name {name} --network {network} {published} --runtime {runtime}"
                " --cap-add NET_RAW --volume /usr:/usr:ro --volume /usr/lib:/lib:ro --volume /usr/lib64:/lib64:ro"
                f" --volume {DIRECTORY}:{DIRECTORY}:ro {IMAGE} sleep 1000000"
            )
        self.machine.sh(
            "for one in fe80::1 fe80::a9fe:a9fe; do ip -6 address replace $one/64 dev bh-alpha nodad; done\n"
            "for one in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$one; done"
        )
        self.open()

    def open(self) -> None:
        """Start the probers."""
        for name in CONTAINERS:
            self.places[name] = Place(self.machine.command(f"docker exec --interactive {name} {PYTHON}"))
        self.places["world"] = Place(self.machine.command(f"ip netns exec world {PYTHON}"))
        self.places["host"] = Place(self.machine.command(PYTHON))
        for name, place in self.places.items():
            tcp = [port for port in TCP if port not in TAKEN or name != "host"]
            names = NAMES if name in ("world", "host") else {}
            assert place.ask(op="listen", tcp=tcp, udp=UDP, bare=BARE, names=names) == "listening"

    def close(self) -> None:
        """End the probers; everything they run in stays."""
        for place in self.places.values():
            place.close()
        self.places = {}

    def remove(self) -> None:
        """Take the containers and the world away."""
        self.close()
        self.machine.run(
            f"docker rm --force {' '.join(CONTAINERS)}; ip netns delete world; ip link delete wan0\n"
            "ip address delete 169.254.170.23/32 dev lo; ip address delete fd00:ec2::23/128 dev lo"
        )

    def mac(self, interface: str) -> str:
        """The hardware address of an interface of the machine."""
        return self.machine.sh(f"cat /sys/class/net/{interface}/address")

    def result(self, flow: Flow) -> str:
        """What becomes of a flow; a service of the machine's own does not echo, but it answers."""
        said = outcome(self.places, self.mac, flow, SECONDS)
        return "passed" if said == "garbled" else said

    def asked(self, agent: str) -> str:
        """What becomes of a question to Docker's own name server; wherever it comes, that it came is known."""
        token = uuid.uuid4().hex
        said = self.places[agent].ask(op="name", to="127.0.0.11", port=53, token=token, seconds=15)
        came = [
            where
            for where in ("world", "host")
            if self.places[where].ask(op="count", token=f"dns:{token}.example.com") != "0"
        ]
        assert bool(came) == (said == "passed"), (said, came)
        return said
