# The real program in a real window: functions for tests/e2e.sh and docs/screenshots.sh, to be sourced.
#
# The program writes a line of state to WORDBRUSH_STATUS_FILE twice a second; whatever else is done to it comes from
# outside: a simulated pointer and keyboard under Xvfb, drawn by the software Vulkan driver.

work=$(mktemp -d)
app=
server=
trap 'stop_all' EXIT

stop_all() {
  [ -z "$app" ] || kill "$app" 2>/dev/null || true
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}

fail() {
  echo "$(basename "$0"): $*" >&2
  echo "--- state" >&2
  cat "$work/state.json" >&2 2>/dev/null || true
  echo >&2
  echo "--- log" >&2
  cat "$work/stderr" "$work"/home/state/logs/* >&2 2>/dev/null || true
  exit 1
}

# start_server WIDTHxHEIGHT: a display of its own, and nothing of the user's settings.
start_server() {
  export WORDBRUSH_HOME=$work/home WORDBRUSH_STATUS_FILE=$work/state.json XDG_RUNTIME_DIR=$work/runtime
  mkdir -p -m 700 "$XDG_RUNTIME_DIR"
  unset WAYLAND_DISPLAY
  VK_ICD_FILENAMES=$(compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' | head -1)
  export VK_ICD_FILENAMES
  # The server chooses a free display and tells it on descriptor 3.
  Xvfb -displayfd 3 -screen 0 "$1x24" -nolisten tcp 3>"$work/display" 2>/dev/null &
  server=$!
  for _ in $(seq 100); do [ -s "$work/display" ] && break; sleep 0.1; done
  [ -s "$work/display" ] || fail "Xvfb does not start"
  DISPLAY=:$(head -1 "$work/display")
  export DISPLAY
}

# start_app WIDTH HEIGHT: the program, its window at the left top corner with the keyboard.
start_app() {
  rm -f "$work/state.json"
  "$binary" >"$work/stdout" 2>"$work/stderr" &
  app=$!
  for _ in $(seq 600); do [ -s "$work/state.json" ] && break; sleep 0.1; done
  [ -s "$work/state.json" ] || fail "the program does not draw"
  window=$(xdotool search --sync --onlyvisible --name '^Wordbrush' | tail -1)
  [ -n "$window" ] || fail "there is no window of that name"
  xdotool windowmove "$window" 0 0 windowsize "$window" "$1" "$2" windowfocus "$window"
  sleep 1
}

# state EXPRESSION: its value, in Python, over the newest line of state `s`.
state() {
  python3 -c "import json; s = json.load(open('$work/state.json')); print($1)" 2>/dev/null || true
}

# wait_for WHAT EXPRESSION [SECONDS]: until the expression is true.
wait_for() {
  local deadline=$((SECONDS + ${3:-60}))
  until [ "$(state "bool($2)")" = True ]; do
    kill -0 "$app" 2>/dev/null || fail "the program ended while waiting for: $1"
    [ $SECONDS -lt $deadline ] || fail "waited in vain for: $1"
    sleep 0.2
  done
  echo "ok: $1"
}

# at X Y: window coordinates of a place on the canvas, in per cent of its width and height.
at() {
  read -r x0 y0 x1 y1 < <(state "' '.join(str(int(v)) for v in s['canvas_on_screen'])")
  echo "$((x0 + (x1 - x0) * $1 / 100)) $((y0 + (y1 - y0) * $2 / 100))"
}

# key KEY...: presses keys.
key() { xdotool key --clearmodifiers "$@"; }

# stroke X0 X1 Y: a stroke from left to right; the button stays down.
stroke() {
  local part
  # shellcheck disable=SC2046
  xdotool mousemove $(at "$1" "$3") mousedown 1
  for part in $(seq "$1" 4 "$2"); do
    # shellcheck disable=SC2046
    xdotool mousemove $(at "$part" "$3")
    sleep 0.05
  done
}

# close_app: quits by its key; fails if it does not end, or not well.
close_app() {
  key ctrl+q
  for _ in $(seq 150); do kill -0 "$app" 2>/dev/null || break; sleep 0.1; done
  if kill -0 "$app" 2>/dev/null; then fail "the window does not close"; fi
  local code=0
  wait "$app" || code=$?
  app=
  [ "$code" = 0 ] || fail "it ended with code $code"
}
