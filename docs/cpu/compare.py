"""Compares Wordbrush's networks on the processor with PyTorch's (oneDNN), pair by pair in one run.

    python docs/cpu/compare.py --bench target/release/examples/bench_cpu [--model FOLDER] [--threads 2]

Both get the same weights, the same batch sizes and the same number of threads; PyTorch runs channels-last in inference
mode. Each round measures one stage with one program and then with the other, so that a busy moment of the machine
meets both; the best of all rounds counts. With `--threads 1` the figures are the time that the thread itself ran, which
does not depend on what else the machine does. Without `--model`, the pocket configuration is filled with made-up
weights. Needs torch and diffusers.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel

POCKET_UNET = dict(
    sample_size=32,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(48, 96, 160),
    layers_per_block=1,
    attention_head_dim=(1, 3, 5),
    cross_attention_dim=192,
    norm_num_groups=16,
)
POCKET_CODEC = dict(
    encoder_block_out_channels=(32,) * 4,
    decoder_block_out_channels=(32,) * 4,
    num_encoder_blocks=(0, 1, 2, 3),
    num_decoder_blocks=(4, 3, 1, 0),
)
STAGES = ["1x32", "3x32", "15x32", "1x64", "decodex32", "decodex64"]
NAMES = {"f32": torch.float32, "bf16": torch.bfloat16}


def made_up_model(folder):
    torch.manual_seed(0)
    UNet2DConditionModel(**POCKET_UNET).save_pretrained(folder / "unet")
    AutoencoderTiny(**POCKET_CODEC).save_pretrained(folder / "vae")


class Torch:
    def __init__(self, folder, precision):
        self.dtype = NAMES[precision]
        load = lambda kind, part: kind.from_pretrained(folder / part, torch_dtype=self.dtype).eval()
        self.unet = load(UNet2DConditionModel, "unet").to(memory_format=torch.channels_last)
        self.codec = load(AutoencoderTiny, "vae").to(memory_format=torch.channels_last)

    def millis(self, stage, repeat, clock):
        what, side = stage.split("x")
        rows = 1 if what == "decode" else int(what)
        latents = torch.randn(rows, 4, int(side), int(side), dtype=self.dtype)
        latents = latents.to(memory_format=torch.channels_last)
        context = torch.randn(rows, 32, self.unet.config.cross_attention_dim, dtype=self.dtype)
        times = torch.full((rows,), 499)
        best = float("inf")
        for _ in range(repeat):
            start = clock()
            if what == "decode":
                self.codec.decode(latents)
            else:
                self.unet(latents, times, context)
            best = min(best, clock() - start)
        return best * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=pathlib.Path, required=True, help="the example bench_cpu, built")
    parser.add_argument("--model", type=pathlib.Path, help="a folder with unet and vae")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=6)
    parser.add_argument("--stages", nargs="*", default=STAGES)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock, figure = (time.thread_time, "own") if arguments.threads == 1 else (time.perf_counter, "best")
    with tempfile.TemporaryDirectory() as made_up, torch.inference_mode():
        folder = arguments.model or pathlib.Path(made_up)
        if arguments.model is None:
            made_up_model(folder)
        print(f"threads {arguments.threads}, torch {torch.__version__}, milliseconds ({figure} of the thread)"
              if figure == "own" else f"threads {arguments.threads}, torch {torch.__version__}, milliseconds")
        print("| stage | precision | PyTorch | Wordbrush | times faster |\n|---|---|---|---|---|")
        for precision in NAMES:
            theirs = Torch(folder, precision)
            for stage in arguments.stages:
                best = [float("inf"), float("inf")]
                for _ in range(arguments.rounds):
                    best[0] = min(best[0], theirs.millis(stage, arguments.repeat, clock))
                    command = [arguments.bench, "--model", folder, "--threads", arguments.threads]
                    command += ["--precision", precision, "--repeat", arguments.repeat, "--stages", stage]
                    output = subprocess.run(list(map(str, command)), capture_output=True, check=True).stdout
                    best[1] = min(best[1], json.loads(output)["millis"][stage][figure])
                ratio = best[0] / best[1]
                print(f"| {stage} | {precision} | {best[0]:.1f} | {best[1]:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
