"""Is the gVisor that was asked for the gVisor that is there?"""

from __future__ import annotations

import pytest
from testinfra.host import Host

from bulkhead import pins
from bulkhead.inventory import InventoryHost
from tests.host import expectations

ENGINE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.usefixtures("with_gvisor")
def test_runsc_is_the_one_asked_for(host: Host, described: InventoryHost) -> None:
    """runsc is the release that the inventory names, or the distribution's own."""
    said = host.check_output("%s --version", expectations.runsc(described)).splitlines()[0]
    if expectations.source(described) == "release":
        assert said == f"runsc version release-{expectations.gvisor(described)['release']}"
    else:
        package = host.check_output("dpkg-query -W -f '${Version}' runsc")
        assert package.startswith(said.removeprefix("runsc version "))


@pytest.mark.usefixtures("with_gvisor")
def test_programs_are_untouched(host: Host, described: InventoryHost) -> None:
    """runsc and its shim are, byte for byte, what was pinned, or what the distribution's package holds."""
    if expectations.source(described) == "distribution":
        # Not the whole package: images often leave out its documentation.
        checked = host.run("cd / && grep ' usr/bin/runsc$' /var/lib/dpkg/info/runsc.md5sums | md5sum --check --quiet")
        assert checked.rc == 0, checked.stdout
        return
    release = str(expectations.gvisor(described)["release"])
    architecture = host.check_output("uname -m")
    own = expectations.gvisor(described).get("sha512") or {}
    assert isinstance(own, dict)
    pinned = own.get(architecture) or pins.load()[release][architecture]
    if "runsc" in pinned:
        expected = {name: pinned[name] for name in ("runsc", "containerd-shim-runsc-v1")}
        lines = host.check_output("cd /usr/local/bin && sha512sum %s %s", *expected).splitlines()
        assert {line.split()[1]: line.split()[0] for line in lines} == expected
        return
    # Of a tarball only its own digest is published: those of its members were recorded when it had been checked.
    directory = f"/opt/gvisor/{release}"
    digest, tarball = host.check_output("sed -n 's/^# //p' %s/SHA512SUMS", directory).split()
    assert pinned.get(tarball) == digest, f"installed from {tarball} {digest}"
    checked = host.run("cd %s && sha512sum --check --quiet SHA512SUMS", directory)
    assert checked.rc == 0, checked.stdout
    assert host.file("/usr/local/bin/runsc").linked_to == f"{directory}/runsc"
    assert host.file("/usr/local/bin/containerd-shim-runsc-v1").linked_to == f"{directory}/containerd-shim-runsc-v1"


@pytest.mark.usefixtures("gvisor_host")
def test_nothing_shadows_runsc(host: Host, described: InventoryHost) -> None:
    """No other runsc comes first in the engines' search path; none is there where gVisor has to be gone."""
    found = host.run("PATH=%s; command -v runsc", ENGINE_PATH).stdout.strip()
    assert found == (expectations.runsc(described) if expectations.wanted(described) else "")
