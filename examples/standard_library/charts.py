"""Charts as SVG text. Colours come from the page's style sheet, so that they follow its theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import cos, dist, log10, pi, sin
from statistics import fmean
from typing import NamedTuple

WIDTH = 1040
CHARACTER = 0.65
"""Width of a character as a share of the font size, with some room for words such as enum."""


class Tile(NamedTuple):
    """A rectangle of a treemap: `size` is its area, `shade` (0 to 1) its colour."""

    name: str
    size: float
    shade: float
    tip: str


class Row(NamedTuple):
    """A bar: its parts are (class of the style sheet, value)."""

    label: str
    note: str
    parts: Sequence[tuple[str, float]]


class Point(NamedTuple):
    """A point of a scatter chart."""

    name: str
    x: float
    y: float
    tip: str


class Rectangle(NamedTuple):
    """A piece of a plane."""

    x: float
    y: float
    width: float
    height: float


def element(name: str, content: str = "", **attributes: object) -> str:
    """Return an element; ``class_`` becomes ``class``, ``text_anchor`` ``text-anchor``."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def svg(content: Iterable[str], height: float, label: str, width: float = WIDTH) -> str:
    return element(
        "svg",
        "".join(content),
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
    )


def text(content: str, x: float, y: float, **attributes: object) -> str:
    return element("text", escape(content), x=x, y=y, **attributes)


def tip(content: str) -> str:
    """Return what a browser shows while the pointer rests on the element around it."""
    return element("title", escape(content))


def treemap(tiles: Sequence[Tile], label: str, height: float = 560) -> str:
    """Return tiles that fill a rectangle, each as large as its share, the largest first."""
    ordered = sorted(tiles, key=lambda tile: -tile.size)
    places = squarify([tile.size for tile in ordered], Rectangle(0, 0, WIDTH, height))
    return svg(map(_tile, ordered, places), height, label)


def squarify(sizes: Sequence[float], space: Rectangle) -> list[Rectangle]:
    """Return a place for each size (largest first), as square as can be.

    Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
    """
    total = sum(sizes)
    areas = [size * space.width * space.height / total for size in sizes] if total else []
    places: list[Rectangle] = []
    while areas:
        side = min(space.width, space.height)
        count = 1
        while count < len(areas) and _worst(areas[: count + 1], side) <= _worst(
            areas[:count], side
        ):
            count += 1
        space, row = _lay_row(areas[:count], space)
        places += row
        del areas[:count]
    return places


def bars(
    rows: Sequence[Row],
    label: str,
    width: float = WIDTH,
    label_width: float = 150,
    note_width: float = 60,
) -> str:
    """Return horizontal bars with their labels at the left and a note behind each."""
    step = 27
    largest = max((sum(value for _, value in row.parts) for row in rows), default=1) or 1
    scale = (width - label_width - note_width) / largest
    drawn: list[str] = []
    for number, row in enumerate(rows):
        y = number * step
        drawn.append(text(row.label, label_width - 10, y + 17, text_anchor="end", class_="name"))
        x = label_width
        for kind, value in row.parts:
            drawn.append(
                element(
                    "rect", x=x, y=y + 3, width=value * scale, height=step - 7, rx=2, class_=kind
                )
            )
            x += value * scale
        drawn.append(text(row.note, x + 7, y + 17, class_="note"))
    return svg(drawn, len(rows) * step, label, width)


def wheel(
    names: Sequence[str], weights: Sequence[int], edges: Iterable[tuple[int, int, str]], label: str
) -> str:
    """Return names on a circle, with a curve for each edge (from, to, class).

    The curves bend towards the middle; a weight is the size of a name's dot.
    """
    size, radius = 860.0, 335.0
    places = [_on_circle(number, len(names), radius, size / 2) for number in range(len(names))]
    drawn = []
    for source, target, kind in edges:
        (x1, y1), (x2, y2) = places[source], places[target]
        bend = 0.2
        x, y = size / 2 + (x1 + x2 - size) * bend / 2, size / 2 + (y1 + y2 - size) * bend / 2
        path = f"M{x1:.1f} {y1:.1f}Q{x:.1f} {y:.1f} {x2:.1f} {y2:.1f}"
        drawn.append(element("path", d=path, class_=f"edge {kind}"))
    largest = max(weights, default=1) or 1
    for number, (name, weight) in enumerate(zip(names, weights, strict=True)):
        x, y = places[number]
        dot = element("circle", cx=x, cy=y, r=2.5 + 7 * (weight / largest) ** 0.5, class_="dot")
        drawn.append(dot + _spoke_label(name, number, len(names), radius + 16, size / 2))
    return svg(drawn, size, label, size)


def scatter(points: Sequence[Point], x_label: str, y_label: str, label: str) -> str:
    """Return points over a logarithmic x axis; the outermost carry their names."""
    height, left, bottom, top = 460.0, 56.0, 44.0, 12.0
    least = min(point.x for point in points)
    span = log10(max(point.x for point in points) / least) or 1
    most = max(point.y for point in points) or 1
    room = Rectangle(left, top, WIDTH - left - 90, height - bottom - top)

    def place(point: Point) -> tuple[float, float]:
        x = room.x + room.width * log10(point.x / least) / span
        return x, room.y + room.height * (1 - point.y / most)

    drawn = _axes(room, (least, span), most, (x_label, y_label))
    drawn += [
        element("circle", tip(point.tip), cx=x, cy=y, r=5, class_="point")
        for point in points
        for x, y in [place(point)]
    ]
    drawn += _names_of_outliers([(point, *place(point)) for point in points])
    return svg(drawn, height, label)


def _axes(
    room: Rectangle, x_range: tuple[float, float], most: float, labels: tuple[str, str]
) -> list[str]:
    least, span = x_range
    base, right = room.y + room.height, room.x + room.width
    drawn = []
    for value in (n * 10**power for power in range(7) for n in (1, 3)):
        if least <= value <= least * 10**span:
            x = room.x + room.width * log10(value / least) / span
            drawn.append(element("line", x1=x, x2=x, y1=room.y, y2=base, class_="grid"))
            drawn.append(text(f"{value:,}", x, base + 18, text_anchor="middle", class_="note"))
    for value in range(0, int(most) + 1, 50):
        y = base - room.height * value / most
        drawn.append(element("line", x1=room.x, x2=right, y1=y, y2=y, class_="grid"))
        drawn.append(text(str(value), room.x - 8, y + 4, text_anchor="end", class_="note"))
    drawn.append(text(labels[0], right, base + 38, text_anchor="end", class_="axis"))
    drawn.append(
        text(
            labels[1],
            0,
            0,
            text_anchor="end",
            class_="axis",
            transform=f"translate(14 {room.y}) rotate(-90)",
        )
    )
    return drawn


def _names_of_outliers(placed: Sequence[tuple[Point, float, float]]) -> list[str]:
    """Name what is far from the crowd, as long as no two names overlap."""
    taken: list[Rectangle] = [Rectangle(x - 5, y - 5, 10, 10) for _, x, y in placed]
    drawn = []
    middle = fmean(x for _, x, _ in placed), fmean(y for _, _, y in placed)
    for point, x, y in sorted(placed, key=lambda item: -dist(middle, item[1:])):
        box = Rectangle(x + 7, y - 8, len(point.name) * 13 * CHARACTER, 15)
        if not any(_overlap(box, other) for other in taken):
            taken.append(box)
            drawn.append(text(point.name, x + 9, y + 4.5, class_="name small"))
    return drawn


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def _tile(tile: Tile, place: Rectangle) -> str:
    rectangle = element(
        "rect",
        x=place.x + 0.75,
        y=place.y + 0.75,
        width=max(0.5, place.width - 1.5),
        height=max(0.5, place.height - 1.5),
        rx=min(3.0, place.width / 8),
        class_="tile",
        fill_opacity=0.12 + 0.88 * tile.shade,
    )
    font = min(24.0, 0.3 * place.height + 3, (place.width - 10) / (CHARACTER * len(tile.name)))
    name = ""
    if font >= 8:
        kind = "on-dark" if tile.shade > 0.55 else "name"
        style = f"font-size:{font:.1f}px"  # a style sheet would outvote an attribute
        name = text(tile.name, place.x + 6, place.y + font + 2, style=style, class_=kind)
    return element("g", tip(tile.tip) + rectangle + name)


def _worst(areas: Sequence[float], side: float) -> float:
    """Return how far from a square the worst of a row along `side` is."""
    total = sum(areas)
    return max(side**2 * max(areas) / total**2, total**2 / (side**2 * max(min(areas), 1e-9)))


def _lay_row(areas: Sequence[float], space: Rectangle) -> tuple[Rectangle, list[Rectangle]]:
    """Lay a row along the shorter side; return the space that is left, and the places."""
    x, y, width, height = space
    places = []
    if width >= height:
        thick = sum(areas) / height
        for area in areas:
            places.append(Rectangle(x, y, thick, area / thick))
            y += area / thick
        return Rectangle(x + thick, space.y, max(width - thick, 1e-9), height), places
    thick = sum(areas) / width
    for area in areas:
        places.append(Rectangle(x, y, area / thick, thick))
        x += area / thick
    return Rectangle(space.x, y + thick, width, max(height - thick, 1e-9)), places


def _on_circle(number: int, count: int, radius: float, middle: float) -> tuple[float, float]:
    angle = 2 * pi * number / count - pi / 2
    return middle + radius * cos(angle), middle + radius * sin(angle)


def _spoke_label(name: str, number: int, count: int, radius: float, middle: float) -> str:
    x, y = _on_circle(number, count, radius, middle)
    degrees = 360 * number / count - 90
    flipped = 90 < degrees < 270
    turn = degrees + 180 if flipped else degrees
    return text(
        name,
        0,
        0,
        text_anchor="end" if flipped else "start",
        dominant_baseline="central",
        class_="name small",
        transform=f"translate({x:.1f} {y:.1f}) rotate({turn:.1f})",
    )


def _short(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
