#!/usr/bin/env bash
# Everything that needs an NVIDIA card, in one go:
#
#     bash docs/gpu/run.sh [OUTPUT_FOLDER [STAGE...]]
#
# Stages, in this order if none is named; each ends within nine minutes, so that they may be run one by one:
#     check     every kernel beside its twin, and the recorded cases in f32, f16 and bf16
#     measure   the networks call by call, and a table of frames per second over canvases
#     compare   the same work in PyTorch, eager
#     compiled  the same, compiled, for one canvas
# (the last two where a Python with torch is at hand; PYTHON names it)
#
# The programs are taken from the folder that PREBUILT names, from what docs/gpu/pack.sh packed into .carry/, or else
# built with docs/cuda/build.sh. A step that fails or takes too long does not stop the others. OUTPUT_FOLDER (default:
# target/gpu) gets few files, easy to carry: summary.txt, what each stage printed, and reports.tar.gz with the figures so far.
# A step fails, too, if it computed with other kernels than our own, or recorded no call where it should have.
# The exit code is 1 if a step failed, or there is a card that cannot be used; without any card all is skipped.
set -uo pipefail
cd "$(dirname "$0")/../.."
output=${1:-target/gpu}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- check measure compare compiled
for stage in "$@"; do
  case $stage in
    check | measure | compare | compiled) ;;
    *) echo "run.sh: the stages are check, measure, compare and compiled, not $stage" >&2; exit 2 ;;
  esac
done
mkdir -p "$output" || exit 2
output=$(cd "$output" && pwd)
work=${TMPDIR:-/tmp}/wordbrush-gpu-$(id -u)
reports=$output/reports
mkdir -p "$work" "$reports" || exit 2
summary=$output/summary.txt
begun=$SECONDS
touch "$summary"

tell() { printf '%s\n' "$*" | tee -a "$summary"; }

# step NAME SECONDS COMMAND...: runs it for at most so long; what it prints goes to the screen and to its stage's file.
failures=0
step() {
  local name=$1 limit=$2 start=$SECONDS code
  shift 2
  printf '\n== %s\n' "$name" | tee -a "$log"
  timeout --kill-after=10 "$limit" "$@" 2>&1 | tee -a "$log"
  code=${PIPESTATUS[0]}
  case $code in
    0) tell "PASS  $name ($((SECONDS - start)) s)" ;;
    124 | 137) tell "FAIL  $name: stopped after $limit s" ;;
    *) tell "FAIL  $name: exit code $code ($((SECONDS - start)) s)" ;;
  esac
  [ "$code" = 0 ] || failures=$((failures + 1))
}
skip() { tell "SKIP  $1: $2"; }

# The programs.
log=$output/programs.txt
if [ -z "${PREBUILT:-}" ] && [ -f .carry/programs.tar.xz ]; then
  PREBUILT=$work/programs
  if ! cmp -s .carry/programs.sha256 "$PREBUILT/programs.sha256"; then
    rm -rf "$PREBUILT"
    mkdir -p "$PREBUILT"
    # Python unpacks it where tar has no xz.
    { tar -xJf .carry/programs.tar.xz -C "$PREBUILT" 2>/dev/null ||
      python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' .carry/programs.tar.xz "$PREBUILT"; } &&
      cp .carry/programs.sha256 "$PREBUILT/"
  fi
elif [ -z "${PREBUILT:-}" ]; then
  step build 7200 bash docs/cuda/build.sh --example replay --example kernels --example bench_card
  PREBUILT=$PWD/target/cuda/build/release
fi
program() { if [ -x "$PREBUILT/examples/$1" ]; then echo "$PREBUILT/examples/$1"; else echo "$PREBUILT/$1"; fi; }
for name in wordbrush replay kernels bench_card; do
  [ -x "$(program $name)" ] || { tell "FAIL  programs: there is no $name in $PREBUILT"; exit 1; }
done
export PREBUILT reports work
rm -f "$output/programs.txt"

# A Python with torch, and the libraries of its NVIDIA wheels.
python=
for candidate in ${PYTHON:+"$PYTHON"} python3 python .venv/bin/python /opt/*/.venv/bin/python /opt/*/bin/python; do
  if "$candidate" -c 'import torch' 2>/dev/null; then python=$candidate; break; fi
done
if [ -n "$python" ]; then
  wheels=$("$python" -c 'import glob, os, torch
print(":".join(glob.glob(os.path.join(os.path.dirname(os.path.dirname(torch.__file__)), "nvidia", "*", "lib"))))')
  export WORDBRUSH_CUDA_LIBRARIES=${WORDBRUSH_CUDA_LIBRARIES:+$WORDBRUSH_CUDA_LIBRARIES:}$wheels
fi
card=$(timeout 120 "$(program kernels)" card 2>"$work/card.err")
code=$?
if [ $code != 0 ]; then
  reason=$(tail -n 1 "$work/card.err")
  # 1 is the program's own word that no card can be opened; whatever else ended it, or a card that the driver knows, is a fault.
  if [ $code = 1 ] && ! nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
    for stage in "$@"; do skip "$stage" "no card: $reason"; done
    exit 0
  fi
  tell "FAIL  card: exit code $code: $reason"
  exit 1
fi
tell "$(head -n 1 <<<"$card"), $(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | sed 's/^/driver /' || true)"
tell "$(sed -n '/^kernels:/p' <<<"$card")"
cat "$work/card.err"

cases=()
for case in tests/fixtures/parity/*/case.json ${PARITY:+"$PARITY"/*/case.json}; do cases+=("$(dirname "$case")"); done

# own COMMAND...: runs it and fails where it does not say that it used our kernels, which would have checked others.
own() {
  "$@" 2>&1 | tee "$work/said"
  local code=${PIPESTATUS[0]}
  [ "$code" = 0 ] || return "$code"
  grep -qx 'kernels: own' "$work/said" || { echo "our own kernels were not used"; return 1; }
}
# is_fast FILE [recorded]: whether figures are those of our kernels, and of recorded calls.
is_fast() {
  if grep -qE '"plain"|\| plain \(' "$1" || ! grep -qE '"kernels": ?"own"|\| own \|' "$1"; then
    echo "our own kernels were not used"
    return 1
  fi
  [ "${2:-}" = recorded ] || return 0
  # Calls of more rows than a recording holds are none in the table; of single calls each is recorded.
  if grep -qE '"refused": ?"|refused: |"launched": ?0' "$1" || ! grep -qE '"launched": ?[1-9]|launched [1-9]' "$1"; then
    echo "calls were not recorded and launched as they should be"
    return 1
  fi
}
# bench_card NAME ARGUMENTS...: a line of the report for each call that was measured, as it comes.
bench_card() {
  set -o pipefail
  "$(program bench_card)" "${@:2}" | tee "$reports/$1.jsonl"
}
fast_bench_card() { bench_card "$@" && is_fast "$reports/$1.jsonl" recorded; }
unrecorded_bench_card() { bench_card "$@" && is_fast "$reports/$1.jsonl"; }
# The bench through the whole engine, for every canvas; the short way, since there are 18 of them.
table() {
  set -o pipefail
  "$(program wordbrush)" bench --model random-sd15 --device cuda --table --edits 2 --seconds 2 | tee "$reports/bench.md" &&
    is_fast "$reports/bench.md" recorded
}
export -f own is_fast bench_card fast_bench_card unrecorded_bench_card program table

stage_check() {
  step card 30 nvidia-smi
  step kernels 150 bash -c 'own "$@"' own "$(program kernels)"
  for dtype in f32 f16 bf16; do
    step "replay-$dtype" 100 bash -c 'own "$@"' own "$(program replay)" --device cuda --dtype $dtype "${cases[@]}"
  done
}

stage_measure() {
  step card-kernels 90 bash -c 'fast_bench_card card-kernels --sizes 64x64 96x64 --rows 1 3 8 15'
  step card-kernels-wide 60 bash -c 'fast_bench_card card-kernels-wide --sizes 240x96 --rows 1 3 8 --repeat 5'
  step card-unrecorded 45 env WORDBRUSH_GRAPHS=off bash -c 'unrecorded_bench_card card-unrecorded --sizes 64x64 --rows 1 3 15'
  step card-plain 45 env WORDBRUSH_KERNELS=plain bash -c 'bench_card card-plain --sizes 64x64 --rows 3 15 --repeat 5'
  step bench 290 bash -c table
}

# PyTorch's own packages are the machine's; diffusers may have been packed as a wheel, which is an archive to unpack.
has_diffusers() {
  if [ -z "$python" ]; then
    skip "$1" "no Python with torch was found: name one in PYTHON"
    return 1
  fi
  if ! "$python" -c 'import diffusers' 2>/dev/null && compgen -G '.carry/wheels/*.whl' >/dev/null; then
    mkdir -p "$work/site"
    for wheel in .carry/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$work/site"; done
    export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}
  fi
  local said
  if ! said=$("$python" -c 'import diffusers; from diffusers import AutoencoderTiny, UNet2DConditionModel' 2>&1); then
    skip "$1" "diffusers cannot be used ($(tail -n 1 <<<"$said")); docs/gpu/pack.sh packs its wheel, and says what it needs"
    return 1
  fi
}
# What is compiled for PyTorch is kept, for another run.
export TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton
compare() { step "$1" 480 "$python" docs/gpu/compare.py --wordbrush "$(program wordbrush)" --output "$reports/$1" "${@:2}"; }
stage_compare() { has_diffusers compare && compare compare --ways eager --seconds 2 --edits 1; }
stage_compiled() {
  has_diffusers compiled && compare compiled --sizes 512x512 --regions 3 --steps 5 --ways eager compiled
}

for stage in "$@"; do
  log=$output/$stage.txt
  : >"$log"
  "stage_$stage"
  tar -czf "$output/reports.tar.gz" -C "$reports" .
done
rm -rf "$reports"
tell "$failures steps failed; $((SECONDS - begun)) s; everything is in $output"
[ "$failures" = 0 ]
