# SPDX-License-Identifier: MIT OR Apache-2.0
"""The report in a browser: as wide as a desk's screen and as a phone, light and
dark. Nothing scrolls sideways, no label lies on another, no picture is blank."""

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

TOOL = os.path.abspath("tools/report")
FIXTURE = os.path.abspath("test/report/fixture.json")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser",
                                               "google-chrome"))), None)
WIDTHS = {"desktop": 1280, "phone": 390}
# As much of the page as is painted; in the dark the first pictures are enough.
HEIGHTS = {"light": 16000, "dark": 3000}
# What a window of this width looks like is what a frame of this width does.
HARNESS = """<!DOCTYPE html><meta charset="utf-8"><title>wait</title>
<style>body{{margin:0;width:{all}px}}iframe{{border:0;height:{height}px;
position:absolute;top:0}}</style>
{frames}
<pre id="probe"></pre>
<script>
function boxes(frame) {{
  const page = frame.contentDocument, root = page.documentElement;
  const left = frame.getBoundingClientRect().left;
  const scroll = root.scrollWidth;
  // What is no picture need not be painted.
  const style = page.createElement("style");
  style.textContent = ".wide, details, .command, p, header {{display: none}}";
  page.head.append(style);
  const overlaps = [], pictures = [];
  for (const svg of page.querySelectorAll(".panel svg")) {{
    const box = svg.getBoundingClientRect();
    pictures.push({{x: left + box.x, y: box.y, width: box.width,
                   height: box.height, name: svg.getAttribute("aria-label")}});
    const texts = [...svg.querySelectorAll("text")].map(
        text => [text.textContent, text.getBoundingClientRect()]);
    for (let i = 0; i < texts.length; ++i)
      for (let j = 0; j < i; ++j) {{
        const [a, b] = [texts[i][1], texts[j][1]];
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        // The boxes of letters are higher than what is drawn.
        if (x > 1 && y > 3)
          overlaps.push([svg.getAttribute("aria-label"), texts[i][0],
                         texts[j][0]]);
      }}
    for (const [text, a] of texts)
      if (a.left < box.left - 2 || a.right > box.right + 2)
        overlaps.push([svg.getAttribute("aria-label"), text, "the edge"]);
  }}
  return {{scroll, inner: frame.contentWindow.innerWidth,
          height: root.scrollHeight, overlaps, pictures,
          smallest: Math.min(...[...page.querySelectorAll(".panel text")].map(
              text => text.getBoundingClientRect().height))}};
}}
addEventListener("load", () => {{
  const found = {{}};
  for (const frame of document.querySelectorAll("iframe"))
    found[frame.id] = boxes(frame);
  document.getElementById("probe").textContent = JSON.stringify(found);
}});
</script>
"""


@unittest.skipUnless(BROWSER, "no Chromium: apt-get install chromium")
class ScreenshotTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        os.environ["MPLCONFIGDIR"] = cls.folder
        report = os.path.join(cls.folder, "report.html")
        subprocess.run([TOOL, FIXTURE, f"--out={report}"], check=True)
        with open(report, encoding="utf-8") as file:
            text = html.escape(file.read(), quote=True)
        frames, left = [], 0
        for name, width in WIDTHS.items():
            frames.append(f'<iframe id="{name}" style="left:{left}px;'
                          f'width:{width}px" srcdoc="{text}"></iframe>')
            left += width
        cls.page = os.path.join(cls.folder, "harness.html")
        with open(cls.page, "w", encoding="utf-8") as file:
            file.write(HARNESS.format(all=left, height=HEIGHTS["light"],
                                      frames="\n".join(frames)))
        cls.wide = left
        # Where things lie does not depend on how much of it is painted.
        dom = cls.browse("light", 100, "--dump-dom").stdout
        probe = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S)[1]
        cls.frames = json.loads(html.unescape(probe))
        cls.pictures = {mode: cls.look(mode) for mode in HEIGHTS}

    @classmethod
    def browse(cls, mode, height, *arguments):
        # 0 is dark, 1 is light.
        return subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--hide-scrollbars",
             "--force-device-scale-factor=1",
             f"--user-data-dir={cls.folder}/{mode}",
             f"--blink-settings=preferredColorScheme={int(mode == 'light')}",
             f"--window-size={cls.wide},{height}", *arguments,
             f"file://{cls.page}"],
            capture_output=True, text=True, check=True, timeout=250)

    @classmethod
    def look(cls, mode):
        picture = os.path.join(cls.folder, f"{mode}.png")
        cls.browse(mode, HEIGHTS[mode], f"--screenshot={picture}")
        kept = os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR")
        if kept:
            shutil.copy(picture, kept)
        import matplotlib.image

        return matplotlib.image.imread(picture)[:, :, :3]

    def test_nothing_scrolls_sideways(self):
        for name, found in self.frames.items():
            self.assertEqual(found["inner"], WIDTHS[name])
            self.assertLessEqual(found["scroll"], found["inner"], name)

    def test_the_screen_decides_whether_it_is_dark(self):
        self.assertGreater(self.pictures["light"][0].mean(), 0.9)
        self.assertLess(self.pictures["dark"][0].mean(), 0.2)

    def test_no_label_lies_on_another_and_none_leaves_its_picture(self):
        for name, found in self.frames.items():
            self.assertEqual(found["overlaps"], [], name)

    def test_labels_are_large_enough_to_read(self):
        for name, found in self.frames.items():
            self.assertGreaterEqual(found["smallest"], 9, name)

    def test_no_picture_is_blank(self):
        for name, found in self.frames.items():
            self.assertGreaterEqual(len(found["pictures"]), 5)
            self.assertLessEqual(found["height"], HEIGHTS["light"],
                                 "a taller window is needed")
            for one in found["pictures"]:
                self.assertGreater(one["width"], 250, one["name"])
                top, left = int(one["y"]), int(one["x"])
                for mode, picture in self.pictures.items():
                    if top + one["height"] > HEIGHTS[mode]:
                        continue
                    area = picture[top:top + int(one["height"]),
                                   left:left + int(one["width"])]
                    other = abs(area - area[0, 0]).max(axis=2) > 0.25
                    self.assertGreater(other.mean(), 0.004,
                                       (name, mode, one["name"]))


if __name__ == "__main__":
    if not BROWSER:
        print("skipped: no Chromium to look with: apt-get install chromium")
    unittest.main()
