#!/usr/bin/env bash
# Gets a CUDA 13.0 compiler from NVIDIA's Python wheels; needs no card, no driver and no administrator.
#
#     eval "$(bash docs/cuda/toolkit.sh [FOLDER])"
#
# The folder (default: target/cuda/toolkit, half a gigabyte) is filled once. What is printed sets the variables that
# building the CUDA kernels of our dependencies looks at.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-target/cuda/toolkit}
wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88
)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/site/nvidia/cu13 # the wheels unpack into the layout of a toolkit
if [ "$(cat "$folder/filled" 2>/dev/null)" != "${wheels[*]}" ]; then
  rm -rf "$folder/site"
  python=${PYTHON:-python3}
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "toolkit.sh: $python has no pip: install python3-pip, or name a Python that has it in PYTHON" >&2
    exit 1
  fi
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary=:all: \
    --target "$folder/site" "${wheels[@]}" >&2
  chmod +x "$root"/bin/* "$root"/nvvm/bin/*
  ln -sfn lib "$root/lib64"
  # The kernels' object files ask for the runtime library; with only the static one in sight, the program needs none
  # of NVIDIA's libraries to start.
  mkdir -p "$folder/static"
  ln -sfn "$root/lib/libcudart_static.a" "$folder/static/libcudart.a"
  # candle's kernels for quantised GGUF weights, which Wordbrush does not use, take ten times as long as all others. A
  # program that did use them would not link.
  cat >"$root/bin/nvcc-without-gguf" <<'WRAPPER'
#!/bin/sh
compiler=${0%-without-gguf}
output= is_object= is_gguf= previous=
for argument in "$@"; do
  case $argument in
    -c) is_object=1 ;;
    */moe_*.cu | */mmq_*.cu | */mmvq_gguf.cu) is_gguf=1 ;;
  esac
  [ "$previous" = -o ] && output=$argument
  previous=$argument
done
if [ "$is_object$is_gguf" = 11 ]; then : | ${CC:-cc} -x c -c -o "$output" -; else exec "$compiler" "$@"; fi
WRAPPER
  chmod +x "$root/bin/nvcc-without-gguf"
  printf '%s' "${wheels[*]}" >"$folder/filled"
fi
cat <<VARIABLES
export CUDA_HOME="$root" CUDA_PATH="$root" NVCC="$root/bin/nvcc-without-gguf" CUDARC_CUDA_VERSION=13000
export CUDA_COMPUTE_CAP="\${CUDA_COMPUTE_CAP:-80}" LIBRARY_PATH="$folder/static\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
VARIABLES
