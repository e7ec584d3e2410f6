"""The engines' own files and daemons: what a user had stays, what is wrong is refused, what fails is put back."""

from __future__ import annotations

import json

from tests.lab.machine import Machine, Runs

STATE = (
    "cd /etc; sha256sum containerd/config.toml docker/daemon.json; ls -A containerd docker;"
    "docker info --format '{{json .Runtimes}}' | sha256sum"
)


def test_user_settings_stay(converged: Machine, runs: Runs) -> None:
    """Settings, comments, owner and mode of the user's files survive, and the previous content lies beside them."""
    converged.sh(
        "cp -a /etc/docker/daemon.json /root/daemon.json; cp -a /etc/containerd/config.toml /root/config.toml\n"
        'printf \'{\\n  "log-level": "warn",\\n  "labels": ["rack=7"]\\n}\\n\' >/etc/docker/daemon.json\n'
        "chmod 0640 /etc/docker/daemon.json\n"
        "printf '# ours\\nversion = 2\\noom_score = -5 # keep\\n' >/etc/containerd/config.toml"
    )
    runs.deploy().expect_success()
    daemon = json.loads(converged.sh("cat /etc/docker/daemon.json"))
    assert list(daemon) == ["log-level", "labels", "runtimes", "default-runtime"]
    assert (daemon["log-level"], daemon["labels"]) == ("warn", ["rack=7"])
    assert converged.sh("stat -c %a /etc/docker/daemon.json") == "640"
    assert list(json.loads(converged.sh("cat /etc/docker/daemon.json~bulkhead"))) == ["log-level", "labels"]
    config = converged.sh("cat /etc/containerd/config.toml")
    assert config.startswith("# ours\nversion = 2\noom_score = -5 # keep\n")
    assert "oom_score = -5" in converged.sh("containerd config dump")
    assert "rack=7" in converged.sh("docker info --format '{{.Labels}}'")


def test_a_file_that_docker_refuses_stays(converged: Machine, runs: Runs) -> None:
    """A key that dockerd doesn't know is found by its own checker, before anything is replaced."""
    converged.sh(
        "cp -a /etc/docker/daemon.json /root/right.json; printf '{\"no-such-key\": 1}' >/etc/docker/daemon.json"
    )
    try:
        before = converged.sh(STATE)
        deployed = runs.deploy()
        assert deployed.status == 1
        assert "no-such-key" in deployed.output
        assert "the new configuration was refused; nothing was changed" in deployed.output
        assert converged.sh(STATE) == before
    finally:
        converged.sh("mv /root/right.json /etc/docker/daemon.json")


def test_broken_files_are_named(converged: Machine, runs: Runs) -> None:
    """Broken JSON and TOML are refused with file, line and column, and stay as they are."""
    converged.sh(
        "cp -a /etc/docker/daemon.json /root/right.json; cp -a /etc/containerd/config.toml /root/right.toml\n"
        "printf '{\\n  \"debug\": flase\\n}\\n' >/etc/docker/daemon.json\n"
        "echo 'version = ' >/etc/containerd/config.toml"
    )
    try:
        before = converged.sh(STATE)
        one = runs.deploy(engines=["docker"])
        two = runs.deploy(engines=["containerd"])
        assert (one.status, two.status) == (1, 1)
        assert "/etc/docker/daemon.json: not valid JSON: expected a value, found 'f' (line 2, column 12)" in one.output
        assert "/etc/containerd/config.toml: not valid TOML: Invalid value (at line 1, column 11)" in two.output
        assert "Traceback" not in one.output + two.output
        assert converged.sh(STATE) == before
    finally:
        converged.sh("mv /root/right.json /etc/docker/daemon.json; mv /root/right.toml /etc/containerd/config.toml")


def test_a_daemon_that_fails_gets_its_file_back(converged: Machine, runs: Runs) -> None:
    """When the daemon does not come up with the new file, the previous one returns and the daemon runs again."""
    # A start-up step of the unit that refuses just our handler stands for whatever may make a daemon fail.
    converged.sh(
        "cp -a /etc/containerd/config.toml /root/right.toml && printf 'version = 2\\n' >/etc/containerd/config.toml"
        " && mkdir -p /etc/systemd/system/containerd.service.d"
        ' && printf \'[Service]\\nExecStartPre=/bin/sh -c "! grep runtimes.runsc /etc/containerd/config.toml"\\n'
        "' >/etc/systemd/system/containerd.service.d/test.conf && systemctl daemon-reload"
        " && systemctl restart containerd"
    )
    try:
        deployed = runs.deploy()
        assert deployed.status == 1
        assert "the previous configuration is back in force" in deployed.output
        assert converged.sh("cat /etc/containerd/config.toml; systemctl is-active containerd") == "version = 2\nactive"
        assert converged.run("ls -Ad /etc/containerd/.bulkhead.*").returncode != 0
    finally:
        converged.sh(
            "rm -r /etc/systemd/system/containerd.service.d && systemctl daemon-reload"
            " && mv /root/right.toml /etc/containerd/config.toml && systemctl restart containerd"
        )
    assert runs.deploy().expect_success().changed == set()


def test_diff_shows_no_secret(converged: Machine, runs: Runs) -> None:
    """`--dry --diff` names what would change and nothing else of a file that holds a secret."""
    converged.sh(
        "cp -a /etc/docker/daemon.json /root/right.json\n"
        'printf \'{"registry-mirrors": ["https://user:hunter2@mirror.invalid"]}\' >/etc/docker/daemon.json'
    )
    try:
        output = runs.deploy("--dry", "--diff", "-vvv").expect_success().output
    finally:
        converged.sh("mv /root/right.json /etc/docker/daemon.json")
    assert '+ default-runtime = "runsc"' in output
    assert "hunter2" not in output


def test_a_link_in_the_way_is_named(converged: Machine, runs: Runs) -> None:
    """A link in the place of a file is not replaced but named."""
    converged.sh("mv /etc/docker/daemon.json /root/real.json && ln -s /root/real.json /etc/docker/daemon.json")
    try:
        deployed = runs.deploy()
        assert deployed.status == 1
        assert "/etc/docker/daemon.json: is a symbolic link to /root/real.json" in deployed.output
        assert converged.sh("readlink /etc/docker/daemon.json") == "/root/real.json"
    finally:
        converged.sh("rm /etc/docker/daemon.json && mv /root/real.json /etc/docker/daemon.json")
