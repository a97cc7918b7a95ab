"""Settings of one training run, read from `configs/*.json`, and the models that they describe."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from world import WorldConfig


@dataclass
class Stage:
    """What every stage has; progress anneals on wall time or steps, whichever ends first."""

    seconds: float
    batch: int
    lr: float
    steps: int = 1_000_000
    warmup: int = 100
    ema: float = 0.999
    log_every: int = 50
    save_seconds: float = 60.0


@dataclass
class AutoencoderStage(Stage):
    crop: int = 128  # pixels; training sees random crops
    size: int = 256  # of the pictures that are cropped
    pool: int = 4096  # pictures made in advance
    noise: float = 0.15  # on the latents, so that the decoder forgives the denoiser
    regular: float = 0.1  # weight of the loss that keeps latents near a unit normal
    decoder_seconds: float = 300.0  # of sharpening the decoder alone, once the latents are in use
    decoder_size: int = 256  # of the pictures it is sharpened on
    critic_weight: float = 0.4  # how hard the critic pulls, against the error of pixels


@dataclass
class LatentsStage:
    # Each {"size": pixels, "count": pictures, "world": {changes to the world}, "regions": whether one region is named}.
    shards: list[dict]
    seconds: float = 1e9


@dataclass
class TeacherStage(Stage):
    sizes: dict = field(default_factory=lambda: {"256": 1.0})  # share of the batches at each picture size
    late_sizes: dict | None = None  # the same for the last part of the stage
    late_from: float = 0.6
    caption_drop: float = 0.1
    noise_bias: float = 0.7  # t ~ u^bias: below 1 favours the noisy steps, which decide outlines
    optimizer: str = "muon"
    weight_decay: float = 0.01
    compile: bool = False


@dataclass
class DistilStage(Stage):
    sizes: dict = field(default_factory=lambda: {"256": 1.0})
    guidance: list = field(default_factory=lambda: [1.5, 3.0])
    jump: int = 1  # steps of the 50-step grid that the teacher takes at once
    weight_decay: float = 0.0


@dataclass
class Settings:
    name: str
    folder: Path
    seed: int
    world: WorldConfig
    vae: dict
    unet: dict
    text: dict
    scheduler: dict
    autoencoder: AutoencoderStage
    latents: LatentsStage
    teacher: TeacherStage
    distil: DistilStage
    start: Path | None = None  # a finished model to start from

    @classmethod
    def load(cls, path, folder=None):
        """Reads a config; `folder` (or $POCKET_OUT, or `out/` beside the recipe) takes all results."""
        raw = json.loads(Path(path).read_text())
        out = folder or os.environ.get("POCKET_OUT") or Path(__file__).parent / "out"
        folder = Path(out) / raw["name"]
        folder.mkdir(parents=True, exist_ok=True)
        start = raw.pop("start", None)
        parts = {
            "world": WorldConfig, "autoencoder": AutoencoderStage, "latents": LatentsStage,
            "teacher": TeacherStage, "distil": DistilStage,
        }  # fmt: skip
        parts = {key: kind(**raw.pop(key)) for key, kind in parts.items()}
        return cls(folder=folder, start=Path(__file__).parent / start if start else None, **raw, **parts)

    @property
    def tokenizer_folder(self):
        return self.folder / "tokenizer"


def pick_device():
    """CUDA if there is one; on a CPU, $THREADS threads (default 1: small steps gain little from more)."""
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        return "cuda"
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    return "cpu"


def new_autoencoder(settings):
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(**settings.vae)


def new_unet(settings, device):
    """The denoiser; on a CPU with plain matrix attention, whose bf16 backward is several times faster."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor

    unet = UNet2DConditionModel(**settings.unet)
    if device == "cpu":
        unet.set_attn_processor(AttnProcessor())
        return unet
    return unet.to(device, memory_format=torch.channels_last)


def new_text_encoder(settings, vocabulary):
    from transformers import CLIPTextConfig, CLIPTextModel

    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1, "pad_token_id": vocabulary - 1}
    return CLIPTextModel(CLIPTextConfig(vocab_size=vocabulary, **ends, **settings.text))


def load_tokenizer(settings):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(settings.tokenizer_folder)


def token_ids(tokenizer, captions):
    padded = tokenizer(captions, padding="max_length", truncation=True, max_length=32, return_tensors="pt")
    return padded.input_ids
