"""Make the pictures of the report in docs/images.

A GPT-2-shaped model is fine-tuned, and what git theta diff --html writes of the two commits is photographed in
Chromium, light and dark:

    python scripts/make_report_images.py

Needs Chromium, its driver, and the packages of the extra "test". The fonts are those of the machine; the pictures
that are checked in were made with the fonts Inter and JetBrains Mono (packages fonts-inter and fonts-jetbrains-mono).
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

TARGET = Path(__file__).parents[1] / "docs" / "images"
SIZE = (1360, 1290)
WIDTH = 256
LAYERS = 12
CHOSEN = "h.11.mlp.c_fc.weight"

Arrays = dict[str, npt.NDArray[Any]]


def before() -> Arrays:
    """A model of GPT-2's shape with random weights."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return (0.02 * generator.standard_normal(shape)).astype(np.float32)

    arrays: Arrays = {"wte.weight": normal(8192, WIDTH), "wpe.weight": normal(1024, WIDTH)}
    for layer in range(LAYERS):
        for name, shape in {
            "ln_1": (WIDTH,),
            "attn.c_attn": (WIDTH, 3 * WIDTH),
            "attn.c_proj": (WIDTH, WIDTH),
            "ln_2": (WIDTH,),
            "mlp.c_fc": (WIDTH, 4 * WIDTH),
            "mlp.c_proj": (4 * WIDTH, WIDTH),
        }.items():
            arrays[f"h.{layer}.{name}.weight"] = normal(*shape) + np.float32(len(shape) == 1)
            arrays[f"h.{layer}.{name}.bias"] = normal(shape[-1])
    return arrays | {"ln_f.weight": 1 + normal(WIDTH), "ln_f.bias": normal(WIDTH)}


def after(old: Arrays) -> Arrays:
    """The same, fine-tuned: adapters merged into the attention, the upper half of the MLPs trained, a head added."""
    generator = np.random.default_rng(1)
    new = dict(old)
    for layer in range(LAYERS):
        depth = (layer + 1) / LAYERS
        name = f"h.{layer}.attn.c_attn.weight"
        rows, columns = old[name].shape
        factors = [generator.standard_normal(shape).astype(np.float32) for shape in ((rows, 4), (4, columns))]
        new[name] = old[name] + np.float32(2e-5 * 12**depth) * (factors[0] @ factors[1])
        for part in ("mlp.c_fc.weight", "mlp.c_proj.weight", "mlp.c_fc.bias", "mlp.c_proj.bias", "ln_2.weight"):
            name = f"h.{layer}.{part}"
            if layer >= LAYERS // 2:
                reach = 2e-6 * 300**depth * (0.3 if "bias" in part else 1.0)
                drift = np.float32(1 + 8 * reach) if part == "mlp.c_fc.weight" else np.float32(1)
                noise = generator.standard_normal(old[name].shape).astype(np.float32)
                new[name] = drift * old[name] + np.float32(reach) * noise
    new["ln_f.weight"] = old["ln_f.weight"].astype(np.float16)
    new["score.weight"] = (0.02 * generator.standard_normal((2, WIDTH))).astype(np.float32)
    return new


def report(folder: Path) -> Path:
    """Commit the model twice; returns the report on the difference."""

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run("git", "init", "-q")
    run("git", "config", "user.name", "Ada")
    run("git", "config", "user.email", "ada@example.org")
    run("git-theta", "track", "*.safetensors")
    old = before()
    for arrays, epoch in ((old, 3), (after(old), 4)):
        data = safetensors.numpy.save(arrays, metadata={"epoch": str(epoch), "format": "pt"})
        (folder / "model.safetensors").write_bytes(data)
        run("git", "add", ".")
        run("git", "commit", "-q", "-m", f"epoch {epoch}")
    run("git-theta", "diff", "HEAD~1", "HEAD", "--html", "report.html")
    return folder / "report.html"


def photograph(page: Path) -> None:
    """Take the pictures."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for option in ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        metrics = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        for theme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": theme}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            driver.get(page.as_uri())
            script = (
                "[...document.querySelectorAll('#rows .pick')].find((row) => row.textContent === arguments[0]).click()"
            )
            driver.execute_script(script, CHOSEN)
            time.sleep(0.5)
            picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": False})
            (TARGET / f"diff-report-{theme}.png").write_bytes(base64.b64decode(picture["data"]))
    finally:
        driver.quit()


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        photograph(report(Path(made)))
