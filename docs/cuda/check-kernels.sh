#!/usr/bin/env bash
# Compiles the kernels with NVIDIA's run-time compiler and its assembler for several cards; needs none of them.
#
#     bash docs/cuda/check-kernels.sh [ARCHITECTURE...]
#
# Gets the compilers with docs/cuda/toolkit.sh. Tells registers and spills of every kernel that spills.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- 80 90
eval "$(bash docs/cuda/toolkit.sh)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for capability in "$@"; do
  for part in F32 F16 BF16 LATENTS; do
    "${PYTHON:-python3}" - "$CUDA_HOME/lib" "$capability" "$part" "$work/$part.ptx" <<'PYTHON'
import ctypes, glob, sys

folder, capability, part, target = sys.argv[1:]
ctypes.CDLL(glob.glob(folder + "/libnvrtc-builtins.so.*")[0], mode=ctypes.RTLD_GLOBAL)
nvrtc = ctypes.CDLL(glob.glob(folder + "/libnvrtc.so.*")[0])
source = open("engine/src/ops/cuda/kernels.cu", "rb").read()
program, size = ctypes.c_void_p(), ctypes.c_size_t()
assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernels.cu", 0, None, None) == 0
options = [f"--gpu-architecture=compute_{capability}", "--std=c++17", f"-DWITH_{part}"]
options = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
code = nvrtc.nvrtcCompileProgram(program, len(options), options)


def text(length, read):
    length(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    read(program, buffer)
    return buffer.value


messages = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).decode()
if code != 0 or messages:
    sys.exit(f"compute_{capability}, {part}:\n{messages}")
open(target, "wb").write(text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX))
PYTHON
    "$CUDA_HOME/bin/ptxas" --gpu-name "sm_$capability" --verbose --output-file "$work/$part.cubin" "$work/$part.ptx" \
      2>"$work/$part.log" || { cat "$work/$part.log" >&2; exit 1; }
    awk -v card="sm_$capability" '
      /Compiling entry function/ { name = $0; sub(/.*function .?/, "", name); sub(/[^a-z0-9_].*/, "", name); kernels++ }
      /spill stores/ { spills = $0 }
      /Used [0-9]+ registers/ && spills !~ / 0 bytes spill stores/ { print card ": " name ":" spills }
      END { print card ": " kernels " kernels" }' "$work/$part.log"
  done
done
