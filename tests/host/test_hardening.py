"""Is the host hardened as its kind has to be: what is in force, what will be after a reboot, what really happens?"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase

import pytest
from testinfra.host import Host

from bulkhead.inventory import InventoryHost
from tests.host import baseline


def wanted(described: InventoryHost, area: str) -> dict[str, str]:
    """What is expected of an area; skips where the inventory leaves it out, or nothing of it."""
    reason = baseline.left_out(described, area)
    if reason:
        pytest.skip(f"{area} is left out: {reason}")
    values = baseline.expected(described, area)
    if not values:
        pytest.skip(f"the inventory leaves all of {area} as the host has it")
    return values


ACTS = {"module-tools": "x", "nft": "wxa"}
"""Which acts on a path are written down (auditctl(8), -p), where it is not being written and its attributes changed."""


def files(name: str) -> str:
    """The file or files below /proc/sys of a setting."""
    return name.translate(str.maketrans("./", "/."))


def test_overridden(host: Host, described: InventoryHost) -> None:
    """Nothing of the baseline is overridden by the inventory."""
    # Nothing is said of a host that does not answer.
    host.check_output("true")
    lines = baseline.overridden(described)
    if lines:
        pytest.skip("\n".join(f"overridden: {line}" for line in lines))


def test_kernel_settings(host: Host, described: InventoryHost) -> None:
    """The running kernel has every setting, on every network interface."""
    values = wanted(described, "sysctl")
    lines = host.run("cd /proc/sys && grep -sH '' " + " ".join(map(files, values))).stdout.splitlines()
    live = {path: " ".join(value.split()) for path, _, value in (line.partition(":") for line in lines)}
    assert live, "nothing could be read below /proc/sys"
    named = {files(name): value for name, value in values.items() if "*" not in name}
    wrong = [
        f"{path} = {value} (must be {named.get(path, must)})"
        for path, value in sorted(live.items())
        for name, must in values.items()
        if fnmatchcase(path, files(name)) and value != named.get(path, must)
    ]
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def test_kernel_settings_persist(host: Host, described: InventoryHost) -> None:
    """The files that the next boot reads say the same, whichever of them has the last word."""
    values = wanted(described, "sysctl")
    last: dict[str, str] = {}
    for line in host.check_output("/usr/lib/systemd/systemd-sysctl --cat-config").splitlines():
        match = re.fullmatch(r"-?\s*([^#;=\s][^=\s]*)\s*=\s*(.*?)\s*", line)
        if match:
            # As sysctl.d(5) has it: where a slash comes first, the name is the path.
            last[match[1] if "/" in match[1].partition(".")[0] else files(match[1])] = match[2]
    wrong = []
    for name, value in values.items():
        for one in [name.replace("*", every) for every in ("all", "default", "*")] if "*" in name else [name]:
            must, found = values.get(one, value), last.get(files(one))
            wrong += [f"{one} = {found} (must be {must})"] if found != must else []
    assert not wrong, "\n".join(wrong)


def test_modules(host: Host, described: InventoryHost) -> None:
    """Modules that nobody needs are neither loaded nor loadable."""
    names = list(wanted(described, "modules"))
    loaded = host.run("cut -d' ' -f1 /proc/modules").stdout.split()
    there = [name for name in names if name.replace("-", "_") in loaded]
    assert not there, f"loaded: {', '.join(there)}"
    if not host.exists("modprobe"):
        pytest.skip("the host has no modprobe")
    loadable = [
        name
        for name in names
        if not host.run("modprobe --show-depends %s", name).stdout.strip().endswith("install /bin/false")
    ]
    assert not loadable, f"can be loaded: {', '.join(loadable)}"


def test_command_line(host: Host, described: InventoryHost) -> None:
    """The kernel was started with the hardened command line."""
    values = wanted(described, "kernel_parameters")
    unsigned = host.run("grep -c '([A-Z]*E[A-Z]*)$' /proc/modules").stdout.strip()
    if unsigned not in ("", "0"):
        # Locked down, a kernel takes no module that nobody signed.
        values.pop("lockdown", None)
    running = host.check_output("cat /proc/cmdline").split()
    missing = [
        parameter
        for parameter in (f"{name}={value}" if value else name for name, value in values.items())
        if parameter not in running
    ]
    if not missing:
        return
    grub = host.run("grep -E '^[[:space:]]*linux.*root=' /boot/grub/grub.cfg")
    if grub.rc != 0:
        pytest.skip(f"the boot loader is not GRUB; it does not pass: {' '.join(missing)}")
    for line in grub.stdout.splitlines():
        assert not set(missing) - set(line.split()), f"GRUB does not pass {' '.join(missing)}: {line.strip()}"
    pytest.skip(f"GRUB passes them, and they are in force after a reboot: {' '.join(missing)}")


CONNECTION = (
    'one=$$; while [ "$one" -gt 1 ]; do tr "\\0" "\\n" <"/proc/$one/environ" | grep "^SSH_CONNECTION=" && exit;'
    ' one=$(awk \'$1 == "PPid:" { print $2 }\' "/proc/$one/status"); done 2>/dev/null; :'
)
"""sudo hands it on to nobody; the shell that sshd started has it."""


def test_sshd(host: Host, described: InventoryHost) -> None:
    """Keys alone let in, root has no password, for whoever connects; forwarding is off."""
    values = wanted(described, "sshd")
    user = host.check_output('echo "${SUDO_USER:-$(id -un)}"')
    if user == "root" and values.get("PermitRootLogin") == "no":
        values["PermitRootLogin"] = "prohibit-password"
    # Without a port sshd 9.2 says nothing where a block is for one; nobody has this one.
    assert not wrong_settings(host.check_output("sshd -T -C lport=65535"), values, "for all")
    # What the inventory names itself may differ for some, for the reason that it says.
    everywhere = {
        name: must for name, must in values.items() if name not in (baseline.said(described).get("sshd") or {})
    }
    weaker, in_blocks = blocks(host, everywhere)
    assert not weaker, "\n".join(weaker)
    everywhere = {name: must for name, must in everywhere.items() if name.lower() not in in_blocks}
    connected = host.check_output(CONNECTION).partition("=")[2].split()
    for client, _, local, port in filter(None, (connected, ["192.0.2.1", "50000", "192.0.2.2", "22"])):
        for name in dict.fromkeys(("root", user)):
            who = f"user={name},host={client},addr={client},laddr={local},lport={port}"
            said = host.check_output("sshd -T -C %s", who)
            assert not wrong_settings(said, everywhere, f"for {name} from {client}")


def wrong_settings(said: str, values: dict[str, str], whom: str) -> str:
    """What sshd takes otherwise than it must, as it says itself."""
    effective: dict[str, set[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        effective.setdefault(key, set()).add(value.replace("without-password", "prohibit-password").lower())
    return "\n".join(
        f"{key} {' '.join(sorted(effective.get(key.lower(), ['?'])))} (must be {value}) {whom}"
        for key, value in values.items()
        if value.lower() not in effective.get(key.lower(), set())
        and set(value.lower().split()) != effective.get(key.lower(), set())
    )


def blocks(host: Host, values: dict[str, str]) -> tuple[list[str], set[str]]:
    """Where a Match block lets some do more than `values`, and all that stands in such blocks, in whatever file."""
    musts = {name.lower(): value.lower() for name, value in values.items()}
    weaker, names = [], set()
    for path in dict.fromkeys(re.findall(r"load_server_config: filename (\S+)", host.run("sshd -T -ddd").stderr)):
        block = ""
        for number, line in enumerate(host.check_output("cat %s", path).splitlines(), 1):
            name, _, value = line.strip().replace("=", " ", 1).replace('"', "").lower().partition(" ")
            value = value.strip()
            if name == "match":
                block = line.strip()
            elif block and name in musts:
                names.add(name)
                if not as_strict(name, value, musts[name]):
                    weaker.append(f"{path}:{number}: {line.strip()} (must be {musts[name]}) in {block}")
    return weaker, names


def as_strict(name: str, value: str, must: str) -> bool:
    """Whether a value for some lets them do no more than that for all."""
    if name == "authenticationmethods":
        return all("publickey" in way.split(",") for way in value.split())
    if name == "permitrootlogin":
        return value in (must, "no", "forced-commands-only")
    if value.isdigit() and must.isdigit():
        return int(value) <= int(must) and (value != "0" or not name.startswith("clientalive"))
    return value == must


def test_audit(host: Host, described: InventoryHost) -> None:
    """The kernel writes down who changes engines, sandboxes, firewall, rights and modules, and auditd keeps it."""
    values = wanted(described, "audit")
    # 2 is enabled, too, and fixed until the next boot (auditctl(8)).
    assert re.search(r"^enabled [12]$", host.check_output("auditctl -s"), re.MULTILINE), "the kernel audits nothing"
    loaded = host.check_output("auditctl -l").splitlines()
    assert [line for line in loaded if re.search(r"-a (never,|\w+,never\b)", line)] == [], "rules that suppress records"
    missing = []
    for name, value in values.items():
        key = re.compile(rf"(-k |key=)bulkhead-{re.escape(name)}$")
        lines = [line for line in loaded if key.search(line)]
        own = re.fullmatch(r"-w (\S+) -p (\w+)", value)
        path, acts = (own[1], own[2]) if own else (value, ACTS.get(name, "wa"))
        if path.startswith("/"):
            there = re.compile(rf"[ =]{re.escape(path)}/?(?: .*)?(?:-p |perm=)(\w+)")
            watched = [found[1] for line in lines if (found := there.search(line))]
            fits = any(set(acts) <= set(letters) for letters in watched)
        else:
            fits = any(value in line for line in lines)
        if not fits:
            missing.append(name)
    assert not missing, f"no rule in force: {', '.join(missing)}"
    if "containerd-socket" in values:
        # Made before the rules are loaded at boot; a rule for what is not there would be for its name alone.
        entry = host.run("systemd-tmpfiles --cat-config --no-pager").stdout
        assert re.search(r"^d\s+/run/containerd\s+0711\s+root\s+root\b", entry, re.MULTILINE)
    assert host.run("systemctl is-active auditd.service").stdout.strip() == "active"
    assert host.run("systemctl is-enabled auditd.service").stdout.strip() == "enabled"


def test_mounts(host: Host, described: InventoryHost) -> None:
    """Where anyone may write, nothing has rights, and nothing can be executed: it is tried."""
    values = wanted(described, "mounts")
    for target, options in values.items():
        there = host.check_output("findmnt --noheadings --first-only --output VFS-OPTIONS %s", target).split(",")
        assert not set(options.split(",")) - set(there), f"{target} is mounted {','.join(there)}"
        if "noexec" in options:
            tried = host.run(
                "f=$(mktemp %s/bulkhead-verify.XXXXXX) && printf '#!/bin/sh\\nexit 0\\n' >$f && chmod 0700 $f && $f; "
                "status=$?; rm -f $f; exit $status",
                target,
            )
            assert tried.rc == 126, f"a program in {target} ended with {tried.rc}"


def test_core_dumps(host: Host, described: InventoryHost) -> None:
    """A process that crashes leaves no dump of its memory: one is made to."""
    wanted(described, "core_dumps")
    if baseline.left_out(described, "sysctl") or "kernel.core_pattern" in (
        baseline.said(described).get("sysctl") or {}
    ):
        pytest.skip("the inventory has a core_pattern of its own")
    left = host.check_output(
        "d=$(mktemp -d) && cd $d && { ulimit -c unlimited; sh -c 'kill -SEGV $$'; } >/dev/null 2>&1; "
        "ls -A $d; rm -rf $d"
    )
    assert left == "", f"a crash left {left}"
    kept = host.run("find /var/lib/systemd/coredump /var/crash -newermt '-10 seconds' -type f 2>/dev/null").stdout
    assert kept.strip() == "", f"a crash left {kept}"


def test_upgrades(host: Host, described: InventoryHost) -> None:
    """Security updates, and no others, are set to come by themselves; the engines are held."""
    values = wanted(described, "upgrades")
    lines = [line for line in host.check_output("apt-config dump").splitlines() if " " in line]
    said: dict[str, list[str]] = {}
    for line in lines:
        name, value = line.rstrip(";").split(" ", 1)
        said.setdefault(name.removesuffix("::"), []).append(value.strip('"'))
    for name, value in values.items():
        if value == "security":
            origins = [one for one in said.get(name, []) if one]
            assert origins, "no origin is named"
            assert not [one for one in origins if "ecurity" not in one], f"other origins than security's: {origins}"
            assert not [one for one in said.get("Unattended-Upgrade::Allowed-Origins", []) if one]
        elif name.endswith("Package-Blacklist"):
            patterns = [one for one in said.get(name, []) if one]
            packages = {"docker": "docker.io", "containerd": "containerd.io"}
            for package in value.split():
                held = packages.get(package, package)
                assert any(re.match(pattern, held) for pattern in patterns), f"{held} is not held: {patterns}"
        elif name.endswith("Origins-Pattern"):
            # An origin may hold blanks: what follows one is another only if it names what it is about.
            assert set(said.get(name, [])) - {""} == set(re.split(r"\s+(?=\w+=)", value))
        else:
            assert said.get(name, ["?"])[-1] == value, f"{name} is {said.get(name)}"
    assert host.package("unattended-upgrades").is_installed


def test_upgrades_come(host: Host, described: InventoryHost) -> None:
    """The timers that bring them run."""
    wanted(described, "upgrades")
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        state = host.run("systemctl is-enabled %s", timer).stdout.strip()
        if state.startswith("masked"):
            pytest.skip(f"{timer} is masked on the host: nothing comes by itself")
        assert state == "enabled", f"{timer} is {state}"


def test_apparmor(host: Host, described: InventoryHost) -> None:
    """The kernel enforces AppArmor, and a Docker that runs confines its containers by it."""
    wanted(described, "apparmor")
    assert host.check_output("cat /sys/module/apparmor/parameters/enabled") == "Y"
    assert host.run("systemctl is-active apparmor.service").stdout.strip() == "active"
    if host.run("systemctl is-active docker.service").stdout.strip() != "active":
        return
    options = json.loads(host.check_output("docker info --format '{{json .SecurityOptions}}'"))
    assert "name=apparmor" in options, f"docker has {options}"
    profiles = host.check_output("cat /sys/kernel/security/apparmor/profiles").splitlines()
    assert "docker-default (enforce)" in profiles


def test_memory(host: Host, described: InventoryHost) -> None:
    """Tenants' memory is not shared between them, nor swapped where the inventory says so."""
    values = wanted(described, "memory")
    if "ksm" in values:
        assert host.run("cat /sys/kernel/mm/ksm/run").stdout.strip() != "1", "the kernel shares pages"
    if "swap" in values:
        swaps = host.check_output("sed 1d /proc/swaps")
        assert swaps == "", f"swap is on: {swaps}"
