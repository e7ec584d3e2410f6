"""What the lab needs installed on Debian 12 and 13."""

import pytest

from bulkhead.errors import BulkheadError
from bulkhead.lab import packages
from bulkhead.lab.apt_sources import Source
from bulkhead.lab.packages import Missing

BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
TRIXIE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
UBUNTU = 'PRETTY_NAME="Ubuntu 24.04 LTS"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE=debian\n'


def test_codename_of_known_releases() -> None:
    assert packages.codename(BOOKWORM) == "bookworm"
    assert packages.codename(TRIXIE) == "trixie"


def test_another_distribution_is_refused_by_its_name() -> None:
    with pytest.raises(BulkheadError, match=r"Ubuntu 24\.04 LTS"):
        packages.codename(UBUNTU)


def test_nothing_installed_on_bookworm() -> None:
    wanted = packages.missing("bookworm", {})
    assert wanted.from_backports == ("qemu-system-x86", "qemu-utils")
    assert "vagrant-libvirt" in wanted.packages
    assert "qemu-system-x86" not in wanted.packages
    assert "libvirt-daemon-driver-qemu" not in wanted.packages


def test_nothing_installed_on_trixie() -> None:
    wanted = packages.missing("trixie", {})
    assert wanted.from_backports == ()
    assert {"qemu-system-x86", "libvirt-daemon-driver-qemu", "mmdebstrap"} <= set(wanted.packages)


@pytest.mark.parametrize(
    ("version", "from_backports"),
    [("1:7.2+dfsg-7+deb12u18", ("qemu-system-x86",)), ("1:10.0.2+ds-2+deb13u1~bpo12+1", ())],
)
def test_bookworms_own_qemu_is_replaced(version: str, from_backports: tuple[str, ...]) -> None:
    installed = dict.fromkeys(packages.needed("bookworm"), "1:10.1") | {"qemu-system-x86": version}
    assert packages.missing("bookworm", installed) == Missing((), from_backports)


def test_all_there_is_nothing_missing() -> None:
    assert not packages.missing("trixie", dict.fromkeys(packages.needed("trixie"), "1"))


def test_commands_take_only_qemu_from_backports() -> None:
    commands = packages.install_commands("bookworm", Missing(("vagrant",), ("qemu-utils",)))
    assert [" ".join(command) for command in commands] == [
        "apt-get update",
        "apt-get install --yes --no-install-recommends --target-release bookworm-backports qemu-utils",
        "apt-get install --yes --no-install-recommends vagrant",
    ]


def test_backports_source_file() -> None:
    source = Source("http://mirror.example/debian", "bookworm-backports", "/usr/share/keyrings/archive.gpg")
    assert packages.deb822(source) == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/archive.gpg\n"
    )


def test_dpkg_compares_the_versions() -> None:
    assert packages.at_least("1:10.0.2+ds-2", "1:10")
    assert not packages.at_least("1:7.2+dfsg-7", "1:10")
