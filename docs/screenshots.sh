#!/usr/bin/env bash
# Makes docs/pictures anew from the real window.
#
# Usage: docs/screenshots.sh [BINARY [FOLDER]]     (default: a release build, docs/pictures)
# Needs Xvfb, xdotool, ImageMagick and a software Vulkan driver.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-target/release/wordbrush}
folder=${2:-docs/pictures}
[ $# -gt 0 ] || cargo build --release --locked --quiet
. tests/real_window.sh
mkdir -p "$folder"
start_server 1360x860

settle() { wait_for "the picture is finished" "s['frame_revision'] == s['revision'] and s['is_settled']" 240; sleep 1; }
shot() { import -window "$window" -strip "$folder/$1.png"; echo "made $folder/$1.png"; }
# rest: the pointer out of the way, and time for messages to go.
rest() { xdotool mousemove 700 845; sleep 7; }
# theme dark|light: what is kept from the last run is forgotten.
theme() {
  rm -rf "$WORDBRUSH_HOME"
  mkdir -p "$WORDBRUSH_HOME/config"
  printf 'theme = "%s"\n' "$1" >"$WORDBRUSH_HOME/config/interface.toml"
}

theme dark
start_app 1360 860
settle
rest
shot start

key 3
sleep 2
key o
sleep 2
stroke 8 92 60
sleep 4
shot painting
xdotool mouseup 1
settle
key o
sleep 2
key o
sleep 2

key ctrl+shift+n
sleep 4
xdotool type --delay 200 "red b"
sleep 4
shot regions
key Escape
sleep 1
key Escape
sleep 1
key F8
settle
rest
shot performance
key ctrl+shift+o
sleep 6
shot gallery
key Escape
sleep 4
key F1
sleep 6
shot help
key Escape
sleep 4
close_app

theme light
start_app 1360 860
settle
rest
shot light
close_app
