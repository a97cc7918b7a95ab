"""Compares `wordbrush bench` with the same work in PyTorch, on the same device in the same call.

    python docs/gpu/compare.py --wordbrush target/release/wordbrush [--output FOLDER]

The work is one frame of the stream batch as the authors' pipeline makes it: T half-finished latents, each denoised once
for each of P regions (a batch of T x P rows, each with its own timestep), averaged under masks, noised to the next
level; the finished one is decoded by the tiny autoencoder and copied to main memory as bytes. PyTorch runs diffusers'
UNet of Stable Diffusion 1.5 with made-up weights in f16, channels-last, with the fastest of cuDNN's convolutions: eager,
and compiled (`max-autotune`). Wordbrush runs its bench with the same canvas, regions and steps, in the same order of
passes. What is left of a difference in the work: PyTorch computes the prompts' keys and values in every frame, as
diffusers' pipelines do; Wordbrush keeps them.

compare.json is written after each measurement, the compiled ones last, so that what is stopped has lost little.

Needs torch and diffusers. Where diffusers is missing and there is no network, docs/gpu/pack.sh packs its wheel
elsewhere, and docs/gpu/run.sh unpacks it; it is pure Python. What diffusers 0.42 needs in turn has to be there already:
huggingface-hub 1.32 or newer, safetensors 0.8 or newer, numpy, Pillow, regex, requests, filelock. Without a card, `--tiny`
runs everything in seconds with small networks against Wordbrush's embedded model, to see that it works; its figures mean
nothing.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import torch

try:
    from diffusers import AutoencoderTiny, UNet2DConditionModel
    from diffusers.utils import logging
except ImportError as error:
    sys.exit(
        f"compare.py: diffusers or something that it needs is missing or too old ({error}). Where there is a network: "
        "python -m pip download --no-deps diffusers importlib-metadata zipp, and what is named in the brackets if it is "
        "another package. Here: python -m zipfile -e EACH.whl FOLDER, and PYTHONPATH=FOLDER"
    )

SD15 = dict(
    sample_size=64,
    block_out_channels=(320, 640, 1280, 1280),
    cross_attention_dim=768,
    attention_head_dim=8,
)
TINY = dict(
    sample_size=8,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(16, 32),
    layers_per_block=1,
    cross_attention_dim=32,
    attention_head_dim=2,
    norm_num_groups=8,
)
WAYS = ["eager", "compiled"]
REMARK = "PyTorch computes the prompts' keys and values in every frame; Wordbrush keeps them"
# Levels of the 50-step LCM schedule, and the model's share of noise at each.
STEPS = {5: [0, 4, 12, 25, 37], 4: [0, 16, 32, 45]}


class Networks:
    """The UNet and the tiny autoencoder, with made-up weights."""

    def __init__(self, arguments, device):
        torch.manual_seed(0)
        self.device, self.is_tiny = device, arguments.tiny
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        config = TINY if arguments.tiny else SD15
        self.width = config["cross_attention_dim"]
        with device:
            unet, codec = UNet2DConditionModel(**config), AutoencoderTiny()
        self.unet = unet.to(device, self.dtype).eval().to(memory_format=torch.channels_last)
        self.codec = codec.to(device, self.dtype).eval().to(memory_format=torch.channels_last)


class Stream:
    """The stream batch in PyTorch."""

    def __init__(self, networks, way):
        self.device, self.dtype, self.width = networks.device, networks.dtype, networks.width
        self.predict = lambda *inputs: networks.unet(*inputs, return_dict=False)[0]
        self.decode = lambda latent: networks.codec.decode(latent, return_dict=False)[0]
        if way == "compiled":
            # A program for every shape: a stream keeps its own.
            options = dict(mode="default" if networks.is_tiny else "max-autotune", dynamic=False)
            self.predict = torch.compile(self.predict, **options)
            self.decode = torch.compile(self.decode, **options)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas = torch.cumprod(1 - betas, 0)

    def start(self, width, height, regions, steps):
        """Latents, masks and tables of a canvas."""
        at = dict(device=self.device, dtype=self.dtype)
        self.height, self.columns = height // 8, width // 8
        indexes = STEPS.get(steps) or [50 * step // steps for step in range(steps)]
        times = torch.tensor([999 - 20 * index for index in indexes])
        self.times = times.repeat_interleave(regions).to(self.device)
        alphas = self.alphas[times]
        scaled = (times.double() * 10) ** 2
        shape = (-1, 1, 1, 1)
        self.signal = alphas.sqrt().reshape(shape).to(**at)
        self.noise = (1 - alphas).sqrt().reshape(shape).to(**at)
        self.skip = (0.25 / (scaled + 0.25)).reshape(shape).to(**at)
        self.out = (scaled.sqrt() / (scaled + 0.25).sqrt()).reshape(shape).to(**at)
        self.context = torch.randn(steps * regions, 77, self.width, **at)
        size = (self.height, self.columns)
        self.masks = (torch.rand(steps, regions, 1, *size, **at) > 0.5).to(self.dtype)
        self.counts = self.masks.sum(1)
        self.background = torch.randn(1, 4, *size, **at)
        self.fixed = torch.randn(steps, 4, *size, **at)
        self.buffer = torch.randn(steps - 1, 4, *size, **at)
        self.regions, self.steps = regions, steps

    def frame(self):
        """One step: a picture's bytes in main memory; the milliseconds to its latent and from there to its pixels.

        Nothing is waited for but the copy of the pixels, as in a program that measures nothing.
        """
        torch.compiler.cudagraph_mark_step_begin()
        begun = self.moment()
        latents = torch.cat([torch.randn_like(self.background), self.buffer])
        rows = latents.repeat_interleave(self.regions, 0).contiguous(memory_format=torch.channels_last)
        predicted = self.predict(rows, self.times, self.context)
        predicted = predicted.reshape(self.steps, self.regions, 4, self.height, self.columns)
        each = lambda table: table.unsqueeze(1)
        clean = (latents.unsqueeze(1) - each(self.noise) * predicted) / each(self.signal)
        clean = each(self.out) * clean + each(self.skip) * latents.unsqueeze(1)
        average = (clean * self.masks).sum(1) / self.counts.clamp(min=1)
        share = (1 - self.counts).clamp(0, 1)
        result = average * (1 - share) + self.background * share
        self.buffer = (self.signal[1:] * result[:-1] + self.noise[1:] * self.fixed[1:]).clone()
        denoised = self.moment()
        picture = self.decode(result[-1:])
        pixels = (picture[0].float() * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
        decoded = self.moment()
        pixels = pixels.cpu()
        assert pixels.shape == (self.height * 8, self.columns * 8, 3)
        return milliseconds(begun, denoised), milliseconds(denoised, decoded)

    def moment(self):
        """When the device comes to what it is given next; only reading it needs that it has."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def milliseconds(begun, ended):
    return (ended - begun) * 1e3 if isinstance(begun, float) else begun.elapsed_time(ended)


def pytorch(stream, canvas, seconds):
    """Frames per second and stages, after frames that compile and allocate; the memory is that of PyTorch's tensors."""
    stream.start(*canvas)
    for _ in range(3):
        stream.frame()
    if stream.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    frames, denoise, decode, begun = 0, 0.0, 0.0, time.perf_counter()
    while time.perf_counter() - begun < seconds or frames < 3:
        stages = stream.frame()
        frames, denoise, decode = frames + 1, denoise + stages[0], decode + stages[1]
    elapsed = time.perf_counter() - begun
    result = dict(frames_per_second=frames / elapsed, denoise_ms=denoise / frames, decode_ms=decode / frames)
    if stream.device.type == "cuda":
        result["peak_bytes"] = torch.cuda.max_memory_allocated()
    return result


def wordbrush(arguments, canvas):
    """The report of `wordbrush bench --json`."""
    width, height, regions, steps = canvas
    command = [arguments.wordbrush, "bench", "--json", "--order", "batch", "--edits", arguments.edits]
    command += ["--model", "pocket" if arguments.tiny else "random-sd15", "--device", arguments.device]
    command += ["--size", f"{width}x{height}", "--regions", regions, "--steps", steps]
    command += ["--seconds", max(1, round(arguments.seconds))]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"wordbrush bench failed for {canvas}")
    return json.loads(done.stdout)


def slow_way(reports):
    """Why the figures are not those of our kernels and of recorded calls, if so; of canvases on a card."""
    cards = [report["card"] or {} for report in reports]
    plain = [card.get("kernels") for card in cards if card.get("kernels") != "own"]
    if plain:
        return f"it ran without its own kernels ({plain[0]})"
    recordings = [card["recordings"] for card in cards]
    refused = [recording["refused"] for recording in recordings if recording["refused"]]
    if refused:
        return f"its calls were not recorded ({refused[0]})"
    if not any(recording["launched"] for recording in recordings):
        return "no recorded call was launched"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wordbrush", required=True, type=pathlib.Path, help="the program, built for this device")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--sizes", nargs="+", default=["512x512", "768x512", "1920x768"])
    parser.add_argument("--regions", nargs="+", type=int, default=[1, 3, 8])
    parser.add_argument("--steps", nargs="+", type=int, default=[5, 4])
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument(
        "--compiled-sizes", nargs="*", default=["512x512"], help="sizes to compile for, minutes each; others run eager"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="how long frames are counted")
    parser.add_argument("--edits", type=int, default=3, help="edits that Wordbrush's bench times before it counts frames")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try this program")
    parser.add_argument("--output", type=pathlib.Path, help="a folder for compare.json")
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("compare.py: PyTorch finds no card")
    torch.backends.cudnn.benchmark = True
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"PyTorch {torch.__version__} and Wordbrush on {name}; frames per second. {REMARK}.")
    results = {
        (*map(int, size.split("x")), regions, steps): {}
        for size in arguments.sizes
        for regions in arguments.regions
        for steps in arguments.steps
    }

    def keep():
        """Writes what there is so far."""
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            report = dict(device=name, torch=torch.__version__, tiny=arguments.tiny, remark=REMARK)
            report["results"] = [result for result in results.values() if result]
            (arguments.output / "compare.json").write_text(json.dumps(report, indent=2))

    failed = False
    with torch.inference_mode():
        networks = Networks(arguments, device)
        # Compiling takes minutes for a canvas, and comes when all else is known.
        for way in sorted(arguments.ways, key=WAYS.index):
            stream = Stream(networks, way)
            print(f"\n| canvas | regions | steps | {way} | Wordbrush | of {way} |\n|{'---|' * 6}", flush=True)
            for canvas, result in results.items():
                width, height, regions, steps = canvas
                if way == "compiled" and f"{width}x{height}" not in arguments.compiled_sizes:
                    continue
                # One program at a time on the device.
                if not result:
                    report = wordbrush(arguments, canvas)
                    result.update(width=width, height=height, regions=regions, steps=steps, wordbrush=report)
                    result.update(pytorch={}, times_faster={})
                    keep()
                try:
                    found = pytorch(stream, canvas, arguments.seconds)
                except Exception as error:  # such as no compiler, or no memory: the other ways still count
                    print(f"{way} fails for {canvas}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
                    failed = True
                    continue
                finally:
                    if device.type == "cuda":
                        torch.cuda.empty_cache()
                ours, theirs = result["wordbrush"]["frames_per_second"], found["frames_per_second"]
                result["pytorch"][way], result["times_faster"][way] = found, ours / theirs
                keep()
                print(f"| {width}x{height} | {regions} | {steps} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} |")
                rows = result["wordbrush"]["rows_per_second"] * result["wordbrush"]["stages"]["denoise_ms"] / 1e3
                if round(rows) != steps * regions:
                    print(f"(Wordbrush computed {rows:.1f} rows a frame, PyTorch {steps * regions})")
                sys.stdout.flush()
    reason = slow_way([result["wordbrush"] for result in results.values() if result]) if device.type == "cuda" else None
    if reason:
        print(f"Wordbrush's figures are not those of its fast way: {reason}", file=sys.stderr)
    return int(failed or reason is not None)


if __name__ == "__main__":
    sys.exit(main())
