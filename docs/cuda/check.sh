#!/usr/bin/env bash
# Type-checks and lints the CUDA code without a CUDA toolkit and without a card.
set -euo pipefail
cd "$(dirname "$0")/../.."
NVCC="$PWD/docs/cuda/stand-in-nvcc" CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=13000 CARGO_TARGET_DIR=target/cuda-check \
  cargo clippy -p wordbrush-engine --features cuda,cudnn --locked -- -D warnings
