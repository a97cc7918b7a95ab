"""Stage 5: writes the finished model as a diffusers folder of f16 safetensors.

python export.py configs/pocket.json ../model
"""

import json
import shutil
import sys
from pathlib import Path

from settings import Settings, load_tokenizer, pick_device
from train_autoencoder import trained_autoencoder
from train_lcm import trained_student
from train_teacher import trained_teacher

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "LCMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}


def export(settings, folder):
    from diffusers import LCMScheduler

    is_distilled = (settings.folder / "lcm.pt").exists()
    trained = trained_student if is_distilled else trained_teacher
    unet, text = trained(settings, len(load_tokenizer(settings)), "cpu")
    parts = {"unet": unet, "text_encoder": text, "vae": trained_autoencoder(settings, "cpu")}
    for name, model in parts.items():
        model.half().save_pretrained(folder / name, safe_serialization=True)
    LCMScheduler(
        **settings.scheduler, original_inference_steps=50, clip_sample=False, set_alpha_to_one=True,
        timestep_scaling=10.0, steps_offset=1,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    shutil.copytree(settings.tokenizer_folder, folder / "tokenizer", dirs_exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=1) + "\n")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.1f} MiB, {'student' if is_distilled else 'teacher'}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    pick_device()
    export(Settings.load(sys.argv[1]), Path(sys.argv[2]))
