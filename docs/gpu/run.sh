#!/usr/bin/env bash
# Everything that needs an NVIDIA card, in one go:
#
#     bash docs/gpu/run.sh [OUTPUT_FOLDER]
#
# Builds with docs/cuda/build.sh (unless PREBUILT names a folder with the programs wordbrush, replay, kernels and
# bench_card), checks every kernel, replays the recorded cases in f32 and f16, measures, and compares with PyTorch where a
# Python with torch and diffusers is at hand (PYTHON names it). A step that fails is told at the end; the others still run.
set -uo pipefail
cd "$(dirname "$0")/../.."
output=${1:-target/gpu}
mkdir -p "$output"
output=$(cd "$output" && pwd)
python=${PYTHON:-python3}
failed=()

# step NAME COMMAND...: what it prints goes to the screen and to NAME.txt.
step() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  if ! "$@" 2>&1 | tee "$output/$name.txt"; then
    failed+=("$name")
  fi
}

if [ -z "${PREBUILT:-}" ]; then
  step build bash docs/cuda/build.sh --example replay --example kernels --example bench_card
  PREBUILT=$PWD/target/cuda/build/release
  [ -x "$PREBUILT/wordbrush" ] || { echo "there is nothing to run: see $output/build.txt" >&2; exit 1; }
fi
program() { if [ -x "$PREBUILT/examples/$1" ]; then echo "$PREBUILT/examples/$1"; else echo "$PREBUILT/$1"; fi; }

step card nvidia-smi
step kernels "$(program kernels)"
cases=()
for case in tests/fixtures/parity/*/case.json ${PARITY:+"$PARITY"/*/case.json}; do cases+=("$(dirname "$case")"); done
for dtype in f32 f16 bf16; do
  step "replay-$dtype" "$(program replay)" --device cuda --dtype $dtype "${cases[@]}"
done

measure() { "$(program bench_card)" >"$output/card-$1.json" && tail -n 40 "$output/card-$1.json"; }
step card-kernels measure kernels
step card-plain env WORDBRUSH_KERNELS=plain bash -c "$(declare -f measure program); PREBUILT='$PREBUILT' output='$output'; measure plain"

# The bench through the whole engine, for every canvas.
table() {
  local missing=0
  echo "| canvas | regions | steps | frames/s | encode | denoise | blend | decode | copy ms | GB |"
  echo "|---|---|---|---|---|---|---|---|---|---|"
  for size in 512x512 768x512 1920x768; do
    for regions in 1 3 8; do
      for steps in 5 4; do
        local report="$output/bench-$size-$regions-$steps.json"
        "$(program wordbrush)" bench --model random-sd15 --device cuda --json \
          --size $size --regions $regions --steps $steps >"$report" || { missing=1; continue; }
        "$python" - "$report" <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
stages = " | ".join(f"{report['stages'][stage + '_ms']:.2f}" for stage in ["encode", "denoise", "blend", "decode", "copy"])
size = "x".join(map(str, report["size"]))
print(f"| {size} | {report['regions']} | {report['steps']} | {report['frames_per_second']:.2f} | {stages} | "
      f"{report['memory']['device_bytes'] / 1e9:.2f} |")
PYTHON
      done
    done
  done
  return $missing
}
step bench table

if "$python" -c 'import torch, diffusers; assert torch.cuda.is_available()' 2>/dev/null; then
  step compare "$python" docs/gpu/compare.py --wordbrush "$(program wordbrush)" --output "$output"
else
  echo "compare.py is left out: $python has no torch with CUDA, or no diffusers" | tee "$output/compare.txt"
fi

printf '\nEverything is in %s\n' "$output"
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
