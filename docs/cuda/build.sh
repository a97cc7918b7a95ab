#!/usr/bin/env bash
# Builds the program with CUDA; needs no card and no toolkit, and the result starts on machines without any of NVIDIA's
# libraries.
#
#     bash docs/cuda/build.sh [MORE ARGUMENTS FOR CARGO, such as --example replay]
#
# The program is target/cuda/build/release/wordbrush. An nvcc in NVCC or on the path is used; else docs/cuda/toolkit.sh
# gets one.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${NVCC:-}" ] && ! command -v nvcc >/dev/null; then
  eval "$(bash docs/cuda/toolkit.sh)"
fi
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80} # code for this capability runs on every later card
# candle binds NVIDIA's libraries when the program starts, which then does not start without them. Whether they are
# bound then or looked for at first use is one word in its manifest, so CUDA builds take a copy with the other word.
version=$(sed -n '/^name = "candle-core"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
cargo fetch --locked --quiet
source=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name "candle-core-$version" | head -n 1)
[ -n "$source" ] || { echo "build.sh: cargo has not fetched candle-core $version" >&2; exit 1; }
rm -rf target/cuda/candle-core
mkdir -p target/cuda
cp -r "$source" target/cuda/candle-core
sed -i 's/"dynamic-linking"/"dynamic-loading"/' target/cuda/candle-core/Cargo.toml
# Cargo writes the copy into the lock file; afterwards it is as it was.
cp Cargo.lock target/cuda/Cargo.lock.kept
trap 'cp target/cuda/Cargo.lock.kept Cargo.lock' EXIT
cargo build --release --features cuda --bin wordbrush -p wordbrush -p wordbrush-engine --target-dir target/cuda/build \
  --config 'patch.crates-io.candle-core.path="target/cuda/candle-core"' "$@"
