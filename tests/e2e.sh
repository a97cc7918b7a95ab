#!/usr/bin/env bash
# End to end: the real program starts, is painted with, undone, exported from and closed.
#
# Usage: tests/e2e.sh [BINARY]     (default: target/debug/wordbrush, built first)
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-target/debug/wordbrush}
[ $# -gt 0 ] || cargo build --workspace --locked --quiet
. tests/real_window.sh
start_server 1280x800

begin=$(date +%s%N)
start_app 1280 800
wait_for "the window shows a painted sample" "len(s['regions']) == 4 and all(r['painted_pixels'] > 0 for r in s['regions'])"
echo "    $((($(date +%s%N) - begin) / 1000000)) ms after the start"
wait_for "a frame shows the newest edit" "s['frame_revision'] == s['revision']" 180

before=$(state "s['regions'][-1]['painted_pixels']")
frames=$(state "s['frames']")
stroke 60 84 78
xdotool mouseup 1
wait_for "the stroke is in the mask" "s['regions'][-1]['painted_pixels'] > $before and s['undo_steps'] == 1"
wait_for "frames advance" "s['frames'] > $frames and s['frame_revision'] == s['revision']" 180

key ctrl+z
wait_for "one undo brings back the mask" "s['regions'][-1]['painted_pixels'] == $before and s['undo_steps'] == 0"
wait_for "the picture follows" "s['frame_revision'] == s['revision']" 180

# The field of the path has the keyboard; what it proposes is replaced.
key ctrl+shift+e
sleep 1
key ctrl+a
xdotool type --delay 20 "$work/picture.png"
sleep 0.5
key Return
wait_for "the export is announced" "any(m.startswith('Exported') for m in s['messages'])"
python3 - "$work/picture.png" <<'PY' || fail "the export is no picture of the canvas"
import struct, sys
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
assert struct.unpack(">II", data[16:24]) == (256, 256)
PY
"$binary" info "$work/picture.png" >"$work/info" || fail "the export cannot be read back"
grep -q "blue sky" "$work/info" || fail "the prompts are not in the export"
echo "ok: a PNG of the canvas, with its prompts inside"

close_app
echo "ok: the window closes cleanly"
