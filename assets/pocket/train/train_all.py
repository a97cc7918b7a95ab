"""All stages in order, each to its share of the time; call again to go on where the last call stopped.

    python train_all.py configs/pocket.json --seconds 570      # as often as needed; exits 0 when all is done, 75 if not

The stages' own lengths are in the config and anneal over them, whatever the calls are cut into. `--total`
scales them all so that they add up to that many seconds. A call that ends early still exports the best
model so far, a few seconds after its time.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import train_autoencoder
import train_lcm
import train_teacher
from export import export
from settings import Settings, pick_device
from train_latents import make_latents

NOT_DONE = 75  # EX_TEMPFAIL: run again


def scaled(settings, total):
    """The settings with every stage longer or shorter by one factor."""
    stages = {name: getattr(settings, name) for name in ("autoencoder", "latents", "teacher", "distil")}
    factor = total / sum(stage.seconds for stage in stages.values())
    shorter = {name: replace(stage, seconds=stage.seconds * factor) for name, stage in stages.items()}
    return replace(settings, **shorter)


def run_stages(settings, device, seconds, model_folder):
    deadline = time.monotonic() + seconds

    def left():
        return deadline - time.monotonic()

    done = settings.folder / "done.txt"
    finished = set(done.read_text().split()) if done.exists() else set()
    stages = {
        "autoencoder": lambda: train_autoencoder.train(settings, device, left(), decoder_only=False),
        # Latents stop at their share of the time; the teacher uses what is there.
        "latents": lambda: make_latents(settings, device, left()) or left() > 0,
        "teacher": lambda: train_teacher.train(settings, device, left()),
        "lcm": lambda: train_lcm.train(settings, device, left()),
        "preview": lambda: train_lcm.preview(settings, device) or True,
        "export": lambda: export(settings, model_folder) or True,
    }
    for name, stage in stages.items():
        if name in finished:
            continue
        if left() < 5 or not stage():
            print(f"stopped in {name}; run again to go on", flush=True)
            if "teacher" in finished or (settings.folder / "teacher.pt").exists():
                export(settings, model_folder)
            return False
        with done.open("a") as file:
            print(name, file=file)
        print(f"finished {name}", flush=True)
    return True


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop (resumably) after this long")
    parser.add_argument("--total", type=float, help="seconds for all stages together")
    parser.add_argument("--out", help="folder for checkpoints and logs")
    parser.add_argument("--model", type=Path, help="folder for the finished model (default: OUT/NAME/model)")
    args = parser.parse_args()
    loaded = Settings.load(args.config, args.out)
    loaded = scaled(loaded, args.total) if args.total else loaded
    whole = run_stages(loaded, pick_device(), args.seconds, args.model or loaded.folder / "model")
    sys.exit(0 if whole else NOT_DONE)
