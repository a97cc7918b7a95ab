#!/usr/bin/env bash
# Makes the fonts of this folder anew: Inter (npm @fontsource/inter) as plain TrueType, and of Lucide's icons
# (npm lucide-static) only those named in icons.txt. Prints the Rust constants for app/src/theme/icons.rs.
# Needs npm and a Python with fonttools.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent @fontsource/inter@5.3.0 lucide-static@1.62.0 >/dev/null
mkdir inter lucide
tar xzf fontsource-inter-*.tgz -C inter
tar xzf lucide-static-*.tgz -C lucide
python3 - "$here" <<'PY'
import re, subprocess, sys
from fontTools.merge import Merger
from fontTools.ttLib import TTFont

here = sys.argv[1]
for weight, name in [(400, "Regular"), (600, "SemiBold")]:
    parts = []
    for subset in ["latin", "latin-ext"]:
        font = TTFont(f"inter/package/files/inter-{subset}-{weight}-normal.woff")
        font.flavor = None
        font.save(f"{subset}.ttf")
        parts.append(f"{subset}.ttf")
    Merger().merge(parts).save(f"{here}/Inter-{name}.ttf")

css = open("lucide/package/font/lucide.css").read()
codes = dict(re.findall(r'\.icon-([a-z0-9-]+)::?before\s*\{\s*content:\s*"\\([0-9a-f]+)"', css))
names = sorted(set(open(f"{here}/icons.txt").read().split()))
subprocess.run(
    ["pyftsubset", "lucide/package/font/lucide.ttf", "--unicodes=" + ",".join(codes[n] for n in names),
     f"--output-file={here}/Lucide.ttf", "--layout-features=", "--no-hinting", "--desubroutinize"],
    check=True,
)
for name in names:
    print(f'pub const {name.upper().replace("-", "_")}: &str = "\\u{{{codes[name]}}}";')
PY
