#!/bin/bash
# NAME=my-tpu ZONE=us-central1-a bash docs/scaling/tpu.sh
# On a Cloud TPU VM of one host, on which tfrobust[train] is installed with the TensorFlow
# that Google builds for TPUs. What is written stays on the VM: copy it before it ends.
set -euo pipefail

gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --command="\
tfrobust train --flagfile=lcnn_cifar10 --distribute=tpu --tpu=local \
--workdir=runs/lcnn"
