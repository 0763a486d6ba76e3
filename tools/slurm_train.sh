#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [flags of lomar train]
# Environment: GPUS=8, GPUS_PER_NODE=8, CPUS_PER_TASK=5, SRUN_ARGS
set -euo pipefail
[ $# -ge 4 ] || { sed -n 2,3p "$0"; exit 2; }
source "$(dirname "$0")/python.sh"
GPUS=${GPUS:-8} PER_NODE=${GPUS_PER_NODE:-8}
[ "$PER_NODE" -le "$GPUS" ] || PER_NODE=$GPUS
# shellcheck disable=SC2086  # SRUN_ARGS is a list
exec srun -p "$1" --job-name="$2" --gres="gpu:$PER_NODE" \
    --ntasks="$GPUS" --ntasks-per-node="$PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$PYTHON" -u -m lomar train "$3" --work-dir="$4" --launcher slurm "${@:5}"
