#!/usr/bin/env bash
# Ends the jobs and daemons of tests/slurm/up.sh, by their process ids, and deletes its files; the
# packages stay installed.
set -uo pipefail

STATE=${SPECTRAFM_SLURM:-/tmp/spectrafm-slurm}
MARK="# of SpectraFM's tests/slurm/up.sh"
unset SLURM_CONF

process_of() { # prints the process id of a daemon that up.sh started, if it still runs
    local id
    id=$(cat "$STATE/$1.pid" 2>/dev/null) &&
        [ "$(cat "/proc/$id/comm" 2>/dev/null)" = "$1" ] && echo "$id"
}

if process_of slurmctld >/dev/null; then
    jobs=$(timeout 10 squeue --noheader --format %A)
    # Job steps outlive slurmd, so they are killed first, without the usual SIGTERM.
    [ -z "$jobs" ] || timeout 10 scancel --full --signal KILL $jobs
    for _ in $(seq 50); do
        [ -n "$(timeout 10 squeue --noheader --states all --format %A%t | grep -E 'R$|CG$')" ] || break
        sleep 0.2
    done
fi
for daemon in slurmd slurmctld munged; do
    id=$(process_of $daemon) || continue
    kill "$id"
    for _ in $(seq 100); do
        process_of $daemon >/dev/null || break
        sleep 0.1
    done
    if process_of $daemon >/dev/null; then kill -KILL "$id"; fi
done
for file in slurm.conf gres.conf cgroup.conf; do
    if grep -qF "$MARK" /etc/slurm/$file 2>/dev/null; then rm -f /etc/slurm/$file; fi
done
if grep -qF "$MARK" /etc/hosts; then
    hosts=$(grep -vF "$MARK" /etc/hosts)
    echo "$hosts" >/etc/hosts
fi
[ ! -e "$STATE/slurmctld.log" ] || rm -rf "$STATE"
