#!/bin/bash
# sbatch docs/scaling/slurm.sh
# One worker a node, each with all of the node's GPUs. RUN lies on a file system that all
# nodes share. A job that SLURM put back into the queue goes on where it was.
#SBATCH --job-name=lcnn
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

RUN=${RUN:-$PWD/runs/lcnn}
PORT=${PORT:-2222}
workers=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/\$/:$PORT/" | paste -sd,)
resume=
if [ -f "$RUN/run.flags" ]; then resume=--resume; fi

# The first worker that ends with an error ends the others, and SLURM the rest.
srun --kill-on-bad-exit=1 sh -c "exec tfrobust train --flagfile=lcnn_cifar10 \
    --workdir='$RUN' --distribute=multi_worker --workers=$workers \
    --worker_index=\$SLURM_PROCID $resume"
