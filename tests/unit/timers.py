"""A stand-in for systemd's transient timers, which really run what they were told to, where no systemd does."""

from __future__ import annotations

from pathlib import Path

from bulkhead.look import PATH

SYSTEMD_RUN = """#!/bin/sh
# systemd-run --unit=NAME --on-active=SECONDS … PROGRAM ARGUMENT
for word; do
    case $word in
    --unit=*) unit=${word#*=} ;;
    --on-active=*) seconds=${word#*=} ;;
    esac
    script=$word
done
[ ! -e FOLDER/broken ] || exit 1
(
    exec 9>&-
    sleep "$seconds" &
    trap 'kill $!; exit' TERM
    wait
    rm "FOLDER/$unit.timer" && exec sh "$script"
) >/dev/null 2>>FOLDER/errors </dev/null &
echo $! >"FOLDER/$unit.timer"
"""

SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>FOLDER/calls
quiet=/dev/stdout
[ "$1" != --quiet ] || { quiet=/dev/null; shift; }
case $1 in
is-active)
    status=3
    for unit; do [ ! -e "FOLDER/$unit" ] || { echo active >$quiet; status=0; }; done
    exit $status
    ;;
stop) [ ! -e "FOLDER/$2" ] || { kill "$(cat "FOLDER/$2")"; rm "FOLDER/$2"; } ;;
reload) [ ! -e FOLDER/reload ] || . FOLDER/reload ;;
esac
case $* in *is-failed*) exit 1 ;; esac
"""


def stand_in(folder: Path) -> str:
    """Make both programs in `folder`; the search path that finds them first.

    With a file `broken` there no timer can be armed. A unit is active for which there is a file; a reload does what the
    file `reload` says.
    """
    folder.mkdir(exist_ok=True)
    for name, script in (("systemd-run", SYSTEMD_RUN), ("systemctl", SYSTEMCTL)):
        (folder / name).write_text(script.replace("FOLDER", str(folder)))
        (folder / name).chmod(0o755)
    return f"{folder}:{PATH}"
