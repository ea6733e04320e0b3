"""The colours of all charts, and axes without ornament."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BLUE, ORANGE, GREY = "#222222", "#1f6fb4", "#d1701c", "#8a8a8a"


def plain(axes: "Axes", title: str) -> None:
    """Give the axes a title and a light grid, and take their frame away."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")
    axes.tick_params(labelsize=9, colors=GREY, length=0)
    axes.grid(axis="y", color="#e8e8e8", lw=0.8)
    axes.set_axisbelow(True)
