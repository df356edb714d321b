#!/usr/bin/env bash
# Run the graph through a SLURM on this machine (make test-slurm). It starts munged, slurmctld and
# slurmd from the distribution's packages, in a temporary folder, on free ports, under your own user.
# Every job must go through SLURM with what it asks for. A training cancelled half-way must resume.
# The numbers must equal those of a run without SLURM. A second run must have nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
bin=$(realpath "${BIN:-.venv/bin}")
PATH="$PATH:/usr/sbin:/sbin"
models="unet aspp_unet"
killed=aspp_unet

for program in munged slurmctld slurmd sbatch; do
    command -v $program > /dev/null || {
        echo "no $program here; install it first: sudo apt-get install slurm-wlm munge" >&2
        exit 1
    }
done

work=$(mktemp -d)
chmod 755 "$work" # munged wants its socket reachable
daemons=()
say() { printf '%4d s  %s\n' $SECONDS "$*"; }
fail() {
    say "FAILED: $*" >&2
    kept=1
    exit 1
}
clean_up() {
    [ -z "${snakemake:-}" ] || kill -KILL "$snakemake" 2> /dev/null || true
    if [ -n "${SLURM_CONF:-}" ]; then
        timeout 20 scancel --me || true
        for _ in {1..40}; do # the daemons must still run to end the jobs
            [ -n "$(timeout 20 squeue --noheader)" ] || break
            sleep 0.5
        done
    fi 2> /dev/null
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
        kill "${daemons[i]}" 2> /dev/null || true
        wait "${daemons[i]}" 2> /dev/null || true
    done
    if [ -n "${kept:-}" ]; then echo "logs are kept in $work" >&2; else rm -rf "$work"; fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

wait_for() { # what, seconds, command
    local what=$1 seconds=$2 start=$SECONDS
    shift 2
    until "$@" > /dev/null 2>&1; do
        [ $((SECONDS - start)) -lt "$seconds" ] || fail "$what: not after $seconds s"
        [ -z "${snakemake:-}" ] || kill -0 "$snakemake" 2> /dev/null || fail "Snakemake ended: $work/slurm.out"
        sleep 0.2
    done
}

start_slurm() {
    local host me ports
    host=$(hostname -s) me=$(id -un)
    read -ra ports < <(python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in held))')
    mkdir "$work"/{state,spool}
    (umask 077 && head -c 1024 /dev/urandom > "$work/munge.key")
    cat > "$work/slurm.conf" << EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$me
SlurmdUser=$me
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$work/munge.socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
MinJobAge=7200
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=16000 Gres=gpu:1 State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
    echo "NodeName=$host Name=gpu File=/dev/null" > "$work/gres.conf" # no job of this test uses it
    export SLURM_CONF=$work/slurm.conf
    # Snakemake's job step calls srun without SLURM_CONF: it expects a configuration in /etc.
    mkdir "$work/bin"
    printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$work/bin/srun"
    chmod +x "$work/bin/srun"
    PATH="$work/bin:$PATH"
    munged --foreground --force --key-file="$work/munge.key" --socket="$work/munge.socket" \
        --pid-file="$work/munged.pid" --log-file="$work/munged.log" \
        --seed-file="$work/munged.seed" > "$work/munged.out" 2>&1 &
    daemons+=($!)
    wait_for "munged" 20 test -S "$work/munge.socket"
    slurmctld -D > "$work/slurmctld.out" 2>&1 &
    daemons+=($!)
    wait_for "slurmctld" 30 scontrol ping
    slurmd -D -N "$host" > "$work/slurmd.out" 2>&1 &
    daemons+=($!)
    wait_for "an idle node" 60 sh -c 'sinfo --noheader --states=idle | grep -q idle'
    say "$(sinfo --version): $(sinfo --noheader --format='partition %P, %D node, %c cores, %m MB, %G')"
}

graph() { # folder, options; the shell becomes Snakemake, so call it in a subshell
    mkdir -p "$1"
    export SPINESEG_ROOT=$1
    exec "$bin/snakemake" --snakefile Snakefile --directory "$@" \
        --config data="$work/phantom-mini" profile="$work/longer.yaml" models="$models"
}
through_slurm=( # by default it queries the accounting, and polls every 40 seconds
    "$work/slurm" --profile cluster/slurm --slurm-status-command squeue
    --slurm-init-seconds-before-status-checks 3 --seconds-between-status-checks 3
    --set-resources cost:gpu=1
)
rows() { if [ -f "$1" ]; then wc -l < "$1"; else echo 0; fi; }

# The smoke profile, trained long enough to be interrupted.
sed 's/^epochs: .*/epochs: 12/' profiles/smoke.yaml > "$work/longer.yaml"
"$bin/python" -m spineseg data phantom "$work/phantom-mini" --cases 10 --scale 0.0625 \
    > "$work/phantom.out" 2>&1
experiment=phantom-mini-longer

(graph "$work/local" --cores 2) > "$work/local.out" 2>&1 || fail "the run without SLURM: $work/local.out"
steps=$(sed -nE 's/^([0-9]+) of \1 steps \(100%\) done$/\1/p' "$work/local.out")
say "without SLURM: $((steps - 1)) jobs done"

start_slurm
graph "${through_slurm[@]}" > "$work/slurm.out" 2>&1 &
snakemake=$!
run=$work/slurm/runs/$experiment/$killed-fold-0-seed-0
wait_for "an epoch of $killed" 1200 test -f "$run/log.csv"
first=$(squeue --noheader --format='%i %k' | awk -v model="$killed" '$2 ~ "_" model "_" {print $1}')
scancel "$first"
wait_for "the end of job $first" 60 sh -c "! squeue --noheader --states=R,CG | grep -qw $first"
cp "$run/log.csv" "$work/before.csv"
[ ! -e "$run/run.json" ] || fail "the training ended before it could be cancelled"
say "job $first (train $killed) cancelled after $(($(rows "$work/before.csv") - 1)) of 12 epochs"
wait "$snakemake" || fail "the run through SLURM: $work/slurm.out"
snakemake=

scontrol --oneliner show job > "$work/jobs.txt"
submitted=$(grep -c JobId= "$work/jobs.txt")
completed=$(grep -c JobState=COMPLETED "$work/jobs.txt")
[ "$submitted" = "$steps" ] && [ "$completed" = $((steps - 1)) ] ||
    fail "$submitted jobs submitted, $completed completed; expected $steps and $((steps - 1))"
say "through SLURM: $submitted jobs submitted, $completed completed, 1 cancelled and sent again"

asked() { # rule, cores, memory, time, further
    grep -E "Comment=rule_$1( |$)" "$work/jobs.txt" | grep "NumCPUs=$2 " |
        grep "MinMemoryNode=$3 " | grep "TimeLimit=$4 " | grep -q "${5:-}" ||
        fail "no job $1 with $2 cores, $3, $4 ${5:-}: $work/jobs.txt"
}
asked prepare 2 4000M 00:05:00
asked train_wildcards_unet_0 1 4000M 00:10:00
asked "train_wildcards_${killed}_0" 1 4000M 00:10:00 JobState=CANCELLED
asked "train_wildcards_${killed}_0" 1 8000M 00:20:00 JobState=COMPLETED
asked cost 2 4000M 00:10:00 gpu:1
asked 04_training 1 4000M 00:10:00
say "each asked for its cores, memory, time and GPU; the retry for twice the memory and time"

head -n "$(rows "$work/before.csv")" "$run/log.csv" | cmp - "$work/before.csv" ||
    fail "$killed did not resume from its checkpoint"
[ "$(rows "$run/log.csv")" = 13 ] || fail "$killed did not train 12 epochs"
say "$killed resumed after its last finished epoch"

untimed() { grep -v "needs only slightly more time" "$1"; } # a claim about seconds
compared=0
for file in "$work/local/results/$experiment"/*.csv; do
    name=$(basename "$file")
    case $name in cost.csv | table4.csv | times.csv) continue ;; esac # seconds
    diff <(untimed "$file") <(untimed "$work/slurm/results/$experiment/$name") || fail "$name differs"
    compared=$((compared + 1))
done
say "$compared tables are equal to the last digit; those with seconds were left out"

(graph "${through_slurm[@]}") > "$work/again.out" 2>&1 || fail "the second run: $work/again.out"
grep -q "Nothing to be done" "$work/again.out" || fail "the second run did something: $work/again.out"
say "a second run has nothing to do"
