"""Two tokenizers on your images, in twenty lines: trained, measured, compared.

python examples/compare.py [SPEC] [STEPS]      # SPEC: folder:PATH, hub:NAME ...; default the built-in photographs
"""

import sys

import tokbench

spec, steps = (sys.argv[1:] + ["photos", "400"][len(sys.argv) - 1 :])[:2]
recipe = {"data.source": spec, "training.steps": int(steps), "training.warmup_steps": int(steps) // 8}
recipe["evaluation.metrics"] = ["psnr", "ssim", "usage"]
records = tokbench.sweep(quantizer=["vq", "rq"], codebook_size=256, depth=4, set=recipe, out="runs/compare")

for record in records:
    if record.error is not None:
        raise SystemExit(record.error)
    psnr, rate = record.metrics["psnr"], record.rate
    print(
        f"{record.quantizer.name}: {psnr.value:.2f} ± {psnr.stderr:.2f} dB at {rate.bits_per_pixel:.3f} bits per pixel"
    )
    print("  by depth:", *(f"{value:.2f}" for value in psnr.by_depth or [psnr.value]))

# One held-out image through the better of the two, coarse to fine.
best = max(records, key=lambda record: record.metrics["psnr"].value)
tokenizer = tokbench.Tokenizer.from_pretrained(f"runs/compare/{best.artifacts['tokenizer']}")
image = tokbench.open_images(spec, "eval", image_size=tokenizer.config.image_size)[0]["image"]
print(f"one image: {tokbench.reconstruct(tokenizer, image).psnr:.2f} dB")
