"""A checkout on a control node whose program stands in for the fleet: it does as it is told, and notes how it ran."""

from __future__ import annotations

WATCH = {"checkout": "/srv/bulkhead", "inventory": "inventories/production.py", "user": "watch"}

PROGRAM = """#!/bin/sh
# drift INVENTORY --history DIRECTORY … --output FILE …
privileges=$(sed -n 's/^NoNewPrivs:[[:space:]]*/no-new-privileges=/p' /proc/self/status)
echo "$(id -un) $(pwd) $* $privileges" >>/var/lib/bulkhead-drift/calls
for word; do
    case $before in --output) output=$word ;; esac
    before=$word
done
echo "3 hosts in 1.0 s"
sleep "$(cat /srv/bulkhead/seconds)"
[ ! -e /srv/bulkhead/also ] || . /srv/bulkhead/also
echo "bulkhead_drift_hosts $(wc -l </var/lib/bulkhead-drift/calls)" >"$output"
exit "$(cat /srv/bulkhead/status)"
"""

REPORTING = r"""
cat >/srv/bulkhead/also <<'END'
mkdir -p -m 700 /var/lib/bulkhead-drift/a
echo '{}' >/var/lib/bulkhead-drift/a/20261123T023500.000000Z.json
metric='bulkhead_drift_last_run_timestamp_seconds{inventory="inventories/production.py"}'
echo "$metric $(date +%s).5" >"$output"
exit "$(cat /srv/bulkhead/status)"
END
"""
"""A script after which the program leaves a report, and the metrics that tell of it."""


def checkout(home: str) -> str:
    """The script that makes the checkout, which the user `watch` can't write to; `home` is that user's."""
    return f"""
set -e
mkdir -p /srv/bulkhead/.venv/bin /srv/bulkhead/inventories /srv/metrics {home}/.ssh
chown -R watch: {home}
cat >/srv/bulkhead/.venv/bin/bulkhead <<'END'
{PROGRAM}END
cat >/srv/bulkhead/.venv/bin/pyinfra <<'END'
#!/bin/sh
[ "$(id -un) $HOME $*" = "watch {home} inventories/production.py debug-inventory" ]
END
chmod 755 /srv/bulkhead/.venv/bin/*
: >/srv/bulkhead/inventories/production.py
echo 0 >/srv/bulkhead/status; echo 0 >/srv/bulkhead/seconds
"""
