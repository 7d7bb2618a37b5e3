#!/usr/bin/env bash
# Starts a SLURM cluster of one node, this machine, for the tests marked slurm: without accounting,
# with two simulated GPUs, listening on the loopback only. Installs Debian's packages if they are
# missing. tests/slurm/down.sh stops the cluster.
#
# Exit code 0: the cluster answers; 3: this machine cannot run one, and nothing was changed; any other
# code: the cluster failed to start.
set -euo pipefail

STATE=${SPECTRAFM_SLURM:-/tmp/spectrafm-slurm}
# Snakemake's plugin starts jobs without SLURM_CONF, so the configuration must be in SLURM's default
# folder.
CONF=/etc/slurm
MARK="# of SpectraFM's tests/slurm/up.sh"
PACKAGES=(munge slurm-client slurmctld slurmd)
CORES=4
MEMORY_MB=256000
export PATH=$PATH:/usr/sbin DEBIAN_FRONTEND=noninteractive
unset SLURM_CONF

impossible() { echo "no SLURM here: $1" >&2; exit 3; }
failed() { echo "SLURM did not start: $1 (logs in $STATE)" >&2; exit 1; }
runs() { [ "$(cat "/proc/$(cat "$STATE/$1.pid" 2>/dev/null)/comm" 2>/dev/null)" = "$1" ]; }
answers() { munge -n </dev/null | unmunge; } >/dev/null 2>&1
idle() { sinfo --noheader --format %t 2>/dev/null | grep -qxE "idle|mix|alloc"; }
within() { # arguments: seconds, and a command that must succeed within that time
    local last=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $last ] || return 1
        sleep 0.2
    done
}

if runs slurmctld && runs slurmd && idle; then
    echo "SLURM runs already"
    exit 0
fi
[ "$(id -u)" = 0 ] || impossible "not root"
command -v apt-get >/dev/null || impossible "no apt-get"
[ ! -e $CONF/slurm.conf ] || grep -qF "$MARK" $CONF/slurm.conf || impossible "another SLURM's $CONF"

missing=()
for package in "${PACKAGES[@]}"; do
    dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null |
        grep -qx installed || missing+=("$package")
done
mkdir -p "$STATE"
if [ ${#missing[@]} -gt 0 ]; then
    # Debian's scripts would start the daemons at once, with another configuration.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap 'rm -f $policy' EXIT
    fi
    {
        apt-get update
        apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}"
    } >"$STATE/apt.log" 2>&1 || {
        tail -n 5 "$STATE/apt.log" >&2
        impossible "apt-get could not install ${missing[*]}"
    }
fi

host=$(hostname --short)
# The daemons listen on the address of the host's name, which must therefore be the loopback.
if [[ $(getent ahostsv4 "$host" | head -n 1) != 127.* ]]; then
    hosts=$(cat /etc/hosts)
    printf '127.0.0.1 %s %s\n%s\n' "$host" "$MARK" "$hosts" >/etc/hosts
fi

if ! answers; then
    [ -s /etc/munge/munge.key ] || (umask 077; head -c 128 /dev/urandom >/etc/munge/munge.key)
    mkdir -p /run/munge
    chown -R munge: /etc/munge /run/munge
    chmod 700 /etc/munge
    chmod 400 /etc/munge/munge.key
    chmod 755 /run/munge
    setpriv --reuid munge --regid munge --init-groups munged --force
    within 10 answers || failed "munged does not answer"
    cp /run/munge/munged.pid "$STATE/munged.pid"
fi

# A GPU is a device file; aliases of /dev/null let SLURM set CUDA_VISIBLE_DEVICES and harm nothing.
for gpu in 0 1; do
    [ -c "$STATE/gpu$gpu" ] || mknod --mode 666 "$STATE/gpu$gpu" c 1 3 ||
        impossible "no device files can be made"
done

mkdir -p $CONF "$STATE/state" "$STATE/spool"
cat >$CONF/slurm.conf <<END
$MARK
ClusterName=tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$STATE/state
SlurmdSpoolDir=$STATE/spool
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd.log
# A requeued job starts again once its credential has expired: after seconds, not two minutes.
AuthInfo=cred_expire=5
# No cgroups: they cannot be written in a container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
# The node may claim more than the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobRequeue=1
# As on most clusters, squeue remembers a job for 5 minutes, and SIGKILL follows SIGTERM after 30 s.
MinJobAge=300
KillWait=30
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$CORES RealMemory=$MEMORY_MB Gres=gpu:a100:2
PartitionName=cpu Nodes=$host Default=YES DefaultTime=30
PartitionName=gpu Nodes=$host DefaultTime=30
END
printf '%s\nNodeName=%s Name=gpu Type=a100 File=%s/gpu[0-1] Flags=nvidia_gpu_env\n' \
    "$MARK" "$host" "$STATE" >$CONF/gres.conf
printf '%s\nCgroupAutomount=no\n' "$MARK" >$CONF/cgroup.conf

runs slurmctld || slurmctld || failed slurmctld
within 20 scontrol ping || failed "slurmctld does not answer"
runs slurmd || slurmd || failed slurmd
if ! within 10 idle; then
    # An earlier cluster may have left the node down.
    scontrol update nodename="$host" state=resume || true
    within 30 idle || failed "the node is not idle: $(sinfo --list-reasons --noheader)"
fi
echo "SLURM started"
