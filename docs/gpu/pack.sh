#!/usr/bin/env bash
# Builds what docs/gpu/run.sh needs and packs it, to be carried to a machine with a card but without Rust or a network:
#
#     bash docs/gpu/pack.sh
#
# .carry/ (which git ignores) gets the programs in one archive, and diffusers' wheel for the comparison with PyTorch. What
# diffusers needs in turn has to be there beside PyTorch: huggingface-hub 1.32 or newer, safetensors 0.8 or newer, numpy, Pillow,
# regex, requests, filelock.
# There: bash docs/gpu/run.sh. PREBUILT names a folder with the programs, to pack those.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${PREBUILT:-}" ]; then
  bash docs/cuda/build.sh --example replay --example kernels --example bench_card
  PREBUILT=target/cuda/build/release
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in wordbrush replay kernels bench_card; do
  program=$PREBUILT/$name
  [ -x "$PREBUILT/examples/$name" ] && program=$PREBUILT/examples/$name
  cp "$program" "$work/$name"
  strip "$work/$name"
done
mkdir -p .carry/wheels
# The programs have most of their code and data in common: a window over all of them finds it.
tar -C "$work" -c wordbrush replay kernels bench_card | xz -6 --lzma2=preset=6,dict=256MiB >.carry/programs.tar.xz
sha256sum .carry/programs.tar.xz >.carry/programs.sha256
if ! "${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --dest .carry/wheels diffusers==0.42.1 importlib-metadata==8.7.0 zipp==3.23.0; then
  echo "pack.sh: without diffusers' wheel, the comparison with PyTorch is left out where diffusers is missing" >&2
fi
du -sh "$work" .carry | sed "s|$work|the programs, unpacked|"
