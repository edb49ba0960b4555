"""Draw the pictures of docs/gallery.md with the code of that page, in small.

Run it from the root of the repository: `python docs/pictures/gallery.py`. It takes a minute.
"""

import re
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

COLORS = 64

page = Path("docs/gallery.md")
steps = re.findall(r"```python\n(.*?)```.*?!\[[^]]*\]\(([^)]*)\)", page.read_text(encoding="utf-8"), flags=re.DOTALL)
names: dict[str, object] = {}
for code, picture in steps:
    plt.close("all")
    exec(compile(code, str(page), "exec"), names)
    file = page.parent / picture
    plt.gcf().savefig(file, dpi=80)
    Image.open(file).convert("RGB").quantize(COLORS).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
