# SPDX-License-Identifier: MIT OR Apache-2.0
"""From results to pictures, and to a file."""

import os

from reporting import page
from reporting.results import Bad


def pictures(results, only=None):
    """Those of all groups that have figures; `only` a picture, or a group."""
    try:
        from reporting import contention, goals, mmu, policy, reclaim, rmap, walk
        import matplotlib  # noqa: F401
    except ImportError:
        raise Bad("needs python3-matplotlib: tools/setup bench") from None
    ours = {"contention": contention, "walk": walk, "rmap": rmap,
            "reclaim": reclaim, "mmu": mmu, "policy": policy}
    made = []
    for group in results.groups():
        if only and only != group and not only.startswith(group + "-"):
            continue
        drawn = ours[group].pictures(results) if group in ours else []
        # A file may have figures and nothing of what they are made from.
        made += drawn or goals.pictures(results, group)
    if only:
        known = [picture.name for picture in made]
        made = [picture for picture in made
                if only in (picture.name, picture.group)]
        if not made:
            raise Bad(f"--only: no such picture: {only}" + (
                f" (there are {', '.join(known)})" if known else
                " (see --list)"))
    if not made:
        raise Bad("nothing was measured: there is nothing to draw")
    return made


def to_file(results, drawn, sources, only, path):
    """The page, under its name as a whole or not at all."""
    text = page.page(results, drawn, [os.path.basename(source)
                                      for source in sources], only)
    temporary = f"{path}.{os.getpid()}.partial"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise Bad(f"{path}: cannot write: {error.strerror}") from None
