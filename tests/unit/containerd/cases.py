"""Configurations of containerd as operators and packages write them: name → the files below /etc/containerd."""

from __future__ import annotations

from tests.unit.containerd.effective import V1, V2, V3, Texts

DEBIAN = f"""\
version = 2

[plugins]
  [plugins."{V2}"]
    [plugins."{V2}".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"""
"""What the packages of Debian 12, 13 and forky install."""

DOCKER = """\
#   Copyright 2018-2022 Docker Inc.

#   Licensed under the Apache License, Version 2.0 (the "License");

disabled_plugins = ["cri"]

#root = "/var/lib/containerd"
#state = "/run/containerd"
#subreaper = true
#oom_score = 0

#[grpc]
#  address = "/run/containerd/containerd.sock"
#  uid = 0
#  gid = 0
"""
"""What Docker's containerd.io installs."""

_RUNC = 'runtime_type = "io.containerd.runc.v2"'


def _kept(plugin: str, version: int | None, engine: str = "") -> str:
    """A file of one version with the settings that get lost most easily, and what else stands in its engine's table."""
    return f"""\
{f"version = {version}" if version else ""}
root = "/srv/containerd"

[plugins."{plugin}"]
  max_container_log_line_size = 1234
  [plugins."{plugin}".cni]
    conf_dir = "/srv/cni"
  [plugins."{plugin}".containerd]
{engine}
"""


def _runc(plugin: str, more: str = "") -> str:
    return f'[plugins."{plugin}".containerd.runtimes.runc]\n{_RUNC}\n{more}'


def _crun(plugin: str) -> str:
    return (
        f'[plugins."{plugin}".containerd.runtimes.crun]\n{_RUNC}\n'
        f'[plugins."{plugin}".containerd.runtimes.crun.options]\nBinaryName = "/usr/bin/crun"\n'
    )


def _own_runsc(plugin: str) -> str:
    return f"""\
[plugins."{plugin}".containerd.runtimes.runsc] # by hand
  runtime_type = "io.containerd.runsc.v1"
  pod_annotations = ["dev.gvisor.*"]
  privileged_without_host_devices = true
  [plugins."{plugin}".containerd.runtimes.runsc.options]
    ConfigPath = "/home/dev/runsc.toml"
"""


_SYSTEMD = f'[plugins."{V2}".containerd.runtimes.runc.options]\nSystemdCgroup = true\n'
_SYSTEMD_V3 = _SYSTEMD.replace(V2, V3)
_IMPORTS = 'imports = ["/etc/containerd/conf.d/*.toml"]\n'
_MAIN2 = f'version = 2\n{_IMPORTS}[plugins."{V2}"]\nmax_container_log_line_size = 1234\n'
_MAIN3 = f'version = 3\n{_IMPORTS}[plugins."{V3}"]\nmax_container_log_line_size = 1234\n'


def _main(text: str | None) -> Texts:
    return {"config.toml": text}


ONE_FILE: dict[str, Texts] = {
    "no file": _main(None),
    "empty": _main(""),
    "a newline": _main("\n"),
    "comments only": _main("# version = 2\n\n  # [plugins]"),
    "Debian": _main(DEBIAN),
    "Debian, CRLF": _main(DEBIAN.replace("\n", "\r\n")),
    "Debian, no final newline": _main(DEBIAN.rstrip("\n")),
    "Debian, CRLF, no final newline": _main(DEBIAN.rstrip("\n").replace("\n", "\r\n")),
    "Debian, mixed line ends": _main(DEBIAN.replace(".cni]\n", ".cni]\r\n")),
    "Debian, byte order mark": _main("\ufeff" + DEBIAN),
    "Docker": _main(DOCKER),
    "Docker, version 2": _main('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'),
    "another plugin off": _main('version = 2\ndisabled_plugins = ["io.containerd.snapshotter.v1.btrfs"]\n'),
    "another plugin off, no version": _main('disabled_plugins = ["io.containerd.snapshotter.v1.btrfs"]\n'),
    "no version, root": _main('root = "/srv/containerd"\n[grpc]\nmax_recv_message_size = 1234\n'),
    "no version, proxy plugin": _main('[proxy_plugins.x]\ntype = "snapshot"\naddress = "/run/x.sock"\n'),
    "no version, version 2 key": _main(_kept(V2, None)),
    "no version, version 3 key": _main(_kept(V3, None)),
    "version 1": _main(_kept(V1, None, _crun(V1) + _runc(V1))),
    "version 1, said": _main("version = 1\n" + _kept(V1, None, _runc(V1))),
    "no version, the keys of version 1 and 2": _main(_kept(V1, None, _runc(V1)) + _crun(V2)),
    "version 1, said, the key of version 2": _main(_kept(V2, 1, _own_runsc(V2))),
    "version 1, said, runtimes under the key of version 2": _main(_kept(V2, 1, _crun(V2))),
    "version 1, said, runtimes under the key of version 3": _main(_kept(V3, 1, _crun(V3))),
    "version 0": _main("version = 0\n"),
    "version 1, nothing of CRI": _main('version = 1\nroot = "/srv"\n'),
    "version 2": _main(_kept(V2, 2)),
    "version 2, sandbox image": _main(f'version = 2\n[plugins."{V2}"]\nsandbox_image = "my/pause:1"\n'),
    "version 2, runc": _main(_kept(V2, 2, _runc(V2))),
    "version 2, crun and runc": _main(_kept(V2, 2, 'default_runtime_name = "crun"\n' + _crun(V2) + _runc(V2))),
    "version 2, crun alone": _main(_kept(V2, 2, 'default_runtime_name = "crun"\n' + _crun(V2))),
    "version 2, SystemdCgroup": _main(_kept(V2, 2, _runc(V2, _SYSTEMD))),
    "version 2, SystemdCgroup alone": _main(_kept(V2, 2, _SYSTEMD)),
    "version 2, own runsc": _main(_kept(V2, 2, _runc(V2) + _own_runsc(V2))),
    "version 2, own runsc alone": _main(_kept(V2, 2, _own_runsc(V2))),
    "version 2, empty runtimes": _main(_kept(V2, 2, f'[plugins."{V2}".containerd.runtimes]\n')),
    "version 2, inline empty runtimes": _main(_kept(V2, 2, "runtimes = {}\n")),
    "version 2, image keys": _main(
        _kept(V2, 2, 'snapshotter = "native"\ndisable_snapshot_annotations = false\ndiscard_unpacked_layers = true\n')
    ),
    "version 2, image keys and runc": _main(_kept(V2, 2, 'snapshotter = "native"\n' + _runc(V2))),
    "version 2, image keys, inline": _main(
        f'version = 2\n[plugins."{V2}"]\ncontainerd = {{ snapshotter = "native" }} # here\nenable_cdi = true\n'
    ),
    "version 2, default named": _main(_kept(V2, 2, 'default_runtime_name = "runc"\n')),
    "version 2, image keys, default named": _main(
        _kept(V2, 2, 'snapshotter = "native"\ndefault_runtime_name = "runc"\n')
    ),
    "version 2 with both keys": _main(_kept(V2, 2) + _crun(V3)),
    "version 2 with both keys and runtimes": _main(_kept(V2, 2, _runc(V2)) + _crun(V3)),
    "version 2 with both keys and defaults": _main(
        _kept(V2, 2, 'default_runtime_name = "crun"\n' + _runc(V2) + _crun(V2))
        + f'[plugins."{V3}".containerd]\nignore_rdt_not_enabled_errors = true\n'
    ),
    "version 2, the default under both keys": _main(
        _kept(V2, 2, 'default_runtime_name = "crun"\n' + _runc(V2) + _crun(V2))
        + f'[plugins."{V3}".containerd]\ndefault_runtime_name = "runc"\n'
    ),
    "version 2, the default under one key, runtimes under the other": _main(
        _kept(V2, 2, 'default_runtime_name = "crun"\n') + _crun(V3)
    ),
    "version 3, runtimes under the key of version 2": _main(_kept(V2, 3, _crun(V2))),
    "version 4, runtimes under the key of version 2": _main(_kept(V2, 4, _crun(V2))),
    "no version, own runsc alone under the key of version 2": _main(_own_runsc(V2)),
    "no version, own runsc alone under the key of version 3": _main(_own_runsc(V3)),
    "version 1, own runsc alone": _main(_own_runsc(V1)),
    "version 2, image keys and own runsc": _main(_kept(V2, 2, 'snapshotter = "native"\n' + _own_runsc(V2))),
    "version 2, own runsc under the key of version 3": _main(_kept(V2, 2) + _own_runsc(V3)),
    "version 2, own runsc under one key, runc under the other": _main(_kept(V2, 2, _runc(V2)) + _own_runsc(V3)),
    "version 2, version 3 key": _main(_kept(V3, 2)),
    "version 2, legacy default": _main(
        _kept(V2, 2, f'[plugins."{V2}".containerd.default_runtime]\n{_RUNC}\n' + _runc(V2))
    ),
    "version 2, CRI off": _main(f'version = 2\ndisabled_plugins = ["{V2}", "io.containerd.snapshotter.v1.zfs"]\n'),
    "version 3": _main(_kept(V3, 3)),
    "version 3, runc and crun": _main(_kept(V3, 3, 'default_runtime_name = "crun"\n' + _runc(V3) + _crun(V3))),
    "version 3, SystemdCgroup alone": _main(_kept(V3, 3, _SYSTEMD_V3)),
    "version 3, own runsc": _main(_kept(V3, 3, _own_runsc(V3))),
    "version 3, version 2 key": _main(_kept(V2, 3)),
    "version 3, CRI off": _main(f'version = 3\ndisabled_plugins = ["{V3}"]\n'),
    "version 4": _main(_kept(V3, 4)),
    "version 4, own runsc": _main(_kept(V3, 4, _own_runsc(V3))),
    "version 5": _main("version = 5\n"),
    "version as text": _main('version = "2"\n'),
    "version below a header": _main("[debug]\nversion = 2\n"),
    "inline tables": _main(
        f'version = 2\nplugins = {{ "{V2}" = {{ max_container_log_line_size = 1234, containerd = '
        f"{{ runtimes = {{ runc = {{ {_RUNC}, options = {{ SystemdCgroup = true }} }} }} }} }} }} # all\n"
    ),
    "inline plugin": _main(f'version = 2\n[plugins]\n"{V2}" = {{ max_container_log_line_size = 1234 }} # keep\n'),
    "inline siblings": _main(
        _kept(V2, 2, f'[plugins."{V2}".containerd.runtimes]\nrunc = {{ {_RUNC} }}\ncrun = {{ {_RUNC} }}\n')
    ),
    "dotted keys": _main(
        f'version = 2\nplugins."{V2}".max_container_log_line_size = 1234\n'
        f'plugins."{V2}".containerd.runtimes.runc.{_RUNC}\n'
        f'plugins."{V2}".containerd.runtimes.runc.options.SystemdCgroup = true\n[debug]\nlevel = "info"\n'
    ),
    "dotted keys in the plugin": _main(
        f'version = 2\n[plugins."{V2}"]\ncontainerd.runtimes.runc.{_RUNC}\nmax_container_log_line_size = 1234\n'
    ),
    "dotted keys, own runsc": _main(
        f'version = 2\n[plugins."{V2}".containerd]\nruntimes.runc.{_RUNC}\n'
        f'runtimes.runsc.runtime_type = "x"\nruntimes.runsc.options.ConfigPath = "/x"\n[debug]\nlevel = "info"\n'
    ),
    "dotted keys, then a header": _main(
        f'version = 2\nplugins."{V2}".containerd.default_runtime_name = "crun"\n' + _crun(V2)
    ),
    "sections out of order": _main(
        f"version = 2\n{_crun(V2)}[debug]\nlevel = 'info'\n[plugins.'{V2}']\nenable_selinux = true\n"
        f"[ plugins . '{V2}' . \"containerd\" . runtimes . runc ]\n{_RUNC}\n[metrics]\naddress = '127.0.0.1:1'\n"
    ),
    "comments everywhere": _main(
        f"""\
# the head
version = 2 # two
# above the section
[plugins."{V2}".containerd] # beside it
  # inside
  default_runtime_name = "crun" # "runc" # was here
  # [plugins."{V2}".containerd.runtimes.runsc]
  # runtime_type = "no"
  [plugins."{V2}".containerd.runtimes] # é ☃
    # the first
    [plugins."{V2}".containerd.runtimes.crun] # ]
      runtime_type = "io.containerd.runc.v2" # }}
      pod_annotations = [ # a
        "x", # "b"
        # c
      ] # d
# the end"""
    ),
    "strings like sections": _main(
        f'version = 2\n[plugins."{V2}"]\nsandbox_image = """\n[plugins."{V2}".containerd.runtimes.runsc]\n"""\n'
    ),
    "names with dots and blanks": _main(
        _kept(V2, 2, f'[plugins."{V2}".containerd.runtimes."my.crun x"]\n{_RUNC}\n' + _runc(V2))
    ),
    "broken": _main("version = 2\n[plugins\n"),
    "key twice": _main("version = 2\nversion = 2\n"),
    "header into an inline table": _main(
        f'version = 2\nplugins = {{}}\n[plugins."{V2}".containerd.runtimes.runc]\n{_RUNC}\n'
    ),
    "plugins no table": _main('version = 2\nplugins = "none"\n'),
    "runtimes no table": _main(f'version = 2\n[plugins."{V2}".containerd]\nruntimes = "runc"\n'),
    "control character": _main("version = 2 # \x07\n"),
    "local time": _main("version = 2\n[x]\ny = 07:32:00\n"),
    "keys of another case": _main(f'Version = 2\n[Plugins."{V2}".Containerd.Runtimes.runc]\n{_RUNC}\n'),
    "keys of another case, versioned": _main(f'version = 2\n[plugins."{V2}".Containerd.Runtimes.runc]\n{_RUNC}\n'),
}

IMPORTS: dict[str, Texts] = {
    "glob without a match": _main(_MAIN2),
    "glob, version 3, without a match": _main(_MAIN3),
    "imports only": _main(_IMPORTS),
    "imports an empty list": _main("version = 2\nimports = []\n"),
    "conf.d that is not imported": {"config.toml": DEBIAN, "conf.d/x.toml": "version = 2\n" + _own_runsc(V2)},
    "conf.d without a main file": {"config.toml": None, "conf.d/x.toml": "version = 3\n" + _own_runsc(V3)},
    "a file that is not there": _main('version = 2\nimports = ["/etc/containerd/gone.toml"]\n'),
    "a drop-in of no plugin": {"config.toml": _MAIN2, "conf.d/a.toml": 'version = 2\nroot = "/srv"\n'},
    "an empty drop-in": {"config.toml": _MAIN2, "conf.d/a.toml": ""},
    "a drop-in with crun": {"config.toml": _MAIN2, "conf.d/a.toml": "version = 2\n" + _crun(V2) + _runc(V2)},
    "a drop-in with crun, no version": {"config.toml": _MAIN2, "conf.d/a.toml": _crun(V2) + _runc(V2)},
    "a drop-in with crun, version 3": {"config.toml": _MAIN3, "conf.d/a.toml": "version = 3\n" + _crun(V3)},
    "a drop-in with crun, version 3, no version": {"config.toml": _MAIN3, "conf.d/a.toml": _crun(V3)},
    "two drop-ins": {
        "config.toml": _MAIN2 + _runc(V2),
        "conf.d/a.toml": "version = 2\n" + _crun(V2) + _runc(V2),
        "conf.d/b.toml": f'version = 2\n[plugins."{V2}".cni]\nconf_dir = "/srv/cni"\n',
    },
    "two drop-ins, version 3": {
        "config.toml": _MAIN3,
        "conf.d/10.toml": "version = 3\n" + _crun(V3),
        "conf.d/9.toml": f'version = 3\n[plugins."{V3}".cni]\nconf_dir = "/srv/cni"\n',
    },
    "a drop-in with runsc": {"config.toml": _MAIN2, "conf.d/a.toml": "version = 2\n" + _runc(V2) + _own_runsc(V2)},
    "a drop-in with runsc, version 3": {"config.toml": _MAIN3, "conf.d/a.toml": "version = 3\n" + _own_runsc(V3)},
    "a drop-in with runsc alone": {
        "config.toml": _IMPORTS,
        "conf.d/a.toml": "version = 2\n" + _own_runsc(V2),
    },
    "runsc in both": {
        "config.toml": _MAIN2 + _runc(V2) + _own_runsc(V2),
        "conf.d/a.toml": "version = 2\n" + _runc(V2) + _own_runsc(V2),
    },
    "runsc in both, version 3": {
        "config.toml": _MAIN3 + _own_runsc(V3),
        "conf.d/a.toml": "version = 3\n" + _own_runsc(V3),
    },
    "a drop-in with the default": {
        "config.toml": _MAIN2 + _runc(V2),
        "conf.d/a.toml": f'version = 2\n[plugins."{V2}".containerd]\ndefault_runtime_name = "crun"\n'
        + _crun(V2)
        + _runc(V2),
    },
    "a drop-in with the default, version 3": {
        "config.toml": _MAIN3,
        "conf.d/a.toml": f'version = 3\n[plugins."{V3}".containerd]\ndefault_runtime_name = "crun"\n' + _crun(V3),
    },
    "the default in both, version 3": {
        "config.toml": _MAIN3 + f'[plugins."{V3}".containerd]\ndefault_runtime_name = "runc"\n',
        "conf.d/a.toml": f'version = 3\n[plugins."{V3}".containerd]\ndefault_runtime_name = "crun"\n' + _crun(V3),
    },
    "main 2, drop-in 3": {"config.toml": _MAIN2, "conf.d/a.toml": "version = 3\n" + _crun(V3)},
    "main 3, drop-in 2": {"config.toml": _MAIN3, "conf.d/a.toml": "version = 2\n" + _crun(V2)},
    "main 2, drop-in 4": {"config.toml": _MAIN2, "conf.d/a.toml": "version = 4\n" + _crun(V3)},
    "main 4, drop-in 3": {
        "config.toml": _MAIN3.replace("version = 3", "version = 4"),
        "conf.d/a.toml": "version = 3\n" + _crun(V3),
    },
    "main 4, drop-in 2": {
        "config.toml": _MAIN3.replace("version = 3", "version = 4"),
        "conf.d/a.toml": "version = 2\n" + _crun(V2),
    },
    "main 2, drop-in 3 of no plugin": {"config.toml": _MAIN2, "conf.d/a.toml": "version = 3\noom_score = 5\n"},
    "main 3, drop-in 2 of no plugin": {"config.toml": _MAIN3, "conf.d/a.toml": "version = 2\noom_score = 5\n"},
    "imports only, drop-in 2": {"config.toml": _IMPORTS, "conf.d/a.toml": "version = 2\n" + _crun(V2) + _runc(V2)},
    "imports only, drop-in 3": {"config.toml": _IMPORTS, "conf.d/a.toml": "version = 3\n" + _crun(V3)},
    "version 1, drop-in 2": {"config.toml": _IMPORTS + _runc(V1), "conf.d/a.toml": "version = 2\n" + _runc(V2)},
    "image keys in main, runtimes in a drop-in": {
        "config.toml": _MAIN2 + f'[plugins."{V2}".containerd]\nsnapshotter = "native"\n',
        "conf.d/a.toml": "version = 2\n" + _crun(V2) + _runc(V2),
    },
    "image keys in a drop-in": {
        "config.toml": _MAIN2,
        "conf.d/a.toml": f'version = 2\n[plugins."{V2}".containerd]\nsnapshotter = "native"\n',
    },
    "main 4, drop-in without version, key of version 2": {
        "config.toml": _MAIN3.replace("version = 3", "version = 4"),
        "conf.d/a.toml": _own_runsc(V2),
    },
    "no version, drop-in of version 1": {"config.toml": _IMPORTS, "conf.d/a.toml": _runc(V1) + _own_runsc(V1)},
    "main 2, drop-in of version 1": {"config.toml": _MAIN2, "conf.d/a.toml": "version = 1\noom_score = 5\n"},
    "main 3, drop-in of version 1": {"config.toml": _MAIN3, "conf.d/a.toml": "version = 1\noom_score = 5\n"},
    "version 3, drop-in 2, runsc under the other key": {
        "config.toml": _MAIN3 + _crun(V3),
        "conf.d/a.toml": "version = 2\n" + _own_runsc(V2),
    },
    "the key of version 3 in a drop-in of version 2": {
        "config.toml": _MAIN2 + _runc(V2),
        "conf.d/a.toml": "version = 2\n" + _crun(V3),
    },
    "the key of version 3 in a drop-in of version 2, nothing in main": {
        "config.toml": _MAIN2,
        "conf.d/a.toml": "version = 2\n" + _crun(V3),
    },
    "a path": {
        "config.toml": 'version = 2\nimports = ["/etc/containerd/own.toml"]\n' + _runc(V2),
        "own.toml": "version = 2\n" + _crun(V2) + _runc(V2),
    },
    "a relative path": {
        "config.toml": 'version = 2\nimports = ["own.toml"]\n' + _runc(V2),
        "own.toml": "version = 2\n" + _crun(V2) + _runc(V2),
    },
    "a relative glob": {
        "config.toml": f'version = 2\nimports = ["conf.d/*.toml"]\n[plugins."{V2}"]\nenable_selinux = true\n',
        "conf.d/a.toml": "version = 2\n" + _crun(V2) + _runc(V2),
    },
    "a path, not clean": {
        "config.toml": 'version = 3\nimports = ["/etc/containerd/conf.d/../own.toml"]\n',
        "own.toml": "version = 3\n" + _own_runsc(V3),
    },
    "a path with a question mark": {
        "config.toml": 'version = 3\nimports = ["/etc/containerd/own?.toml"]\n',
        "own?.toml": "version = 3\n" + _own_runsc(V3),
        "own1.toml": "version = 3\n" + _own_runsc(V3),
    },
    "a dotfile": {"config.toml": _MAIN3, "conf.d/.a.toml": "version = 3\n" + _own_runsc(V3)},
    "a file in a deeper directory": {"config.toml": _MAIN3, "conf.d/x/a.toml": "version = 3\n" + _own_runsc(V3)},
    "a nested import": {
        "config.toml": 'version = 2\nimports = ["/etc/containerd/own.toml"]\n' + _runc(V2),
        "own.toml": f"version = 2\n{_IMPORTS}" + _crun(V2) + _runc(V2),
        "conf.d/a.toml": "version = 2\n" + _runc(V2) + _own_runsc(V2),
    },
    "a nested import, version 3": {
        "config.toml": 'version = 3\nimports = ["/etc/containerd/own.toml"]\n',
        "own.toml": f"version = 3\n{_IMPORTS}" + _crun(V3),
        "conf.d/a.toml": "version = 3\n" + _own_runsc(V3),
    },
    "a nested import of the default": {
        "config.toml": 'version = 3\nimports = ["/etc/containerd/own.toml"]\n',
        "own.toml": f"version = 3\n{_IMPORTS}" + _crun(V3),
        "conf.d/a.toml": f'version = 3\n[plugins."{V3}".containerd]\ndefault_runtime_name = "crun"\n',
    },
    "a circle of imports": {
        "config.toml": 'version = 2\nimports = ["/etc/containerd/own.toml"]\n' + _runc(V2),
        "own.toml": 'version = 2\nimports = ["/etc/containerd/config.toml"]\n' + _crun(V2) + _runc(V2),
    },
    "a file imported twice": {
        "config.toml": 'version = 3\nimports = ["/etc/containerd/conf.d/b.toml", "/etc/containerd/conf.d/*.toml"]\n',
        "conf.d/a.toml": "version = 3\n" + _crun(V3),
        "conf.d/b.toml": f'version = 3\n[plugins."{V3}".containerd]\ndefault_runtime_name = "crun"\n',
    },
    "a drop-in that is broken": {"config.toml": _MAIN2, "conf.d/a.toml": "version = \n"},
    "a drop-in with a byte order mark": {"config.toml": _MAIN3, "conf.d/a.toml": "\ufeffversion = 3\n"},
    "a drop-in that switches CRI off": {
        "config.toml": _MAIN2,
        "conf.d/a.toml": f'version = 2\ndisabled_plugins = ["{V2}"]\n',
    },
    "imports no list": _main('version = 2\nimports = "x"\n'),
}
