"""What the experiments' pictures share: panels of lines over steps, side by side in one SVG.  Nothing but Python."""
WIDTH, HEIGHT, LEFT, TOP, ACROSS = 300, 200, 60, 46, 3
COLOURS = ["#1b6ca8", "#c8553d", "#3f8f4f", "#8a5aa8", "#b58900", "#008080", "#888888", "#d33682"]


def panel(title, lines, unit="iteration"):
    """lines: (colour, points (x, y), the x to mark with a circle or None) each; x counts from 1."""
    values = [y for _, points, _ in lines for _, y in points]
    low, high = min(values), max(values)
    low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)
    last = max(x for _, points, _ in lines for x, _ in points)

    def at(x, y):
        return f"{WIDTH * (x - 1) / max(last - 1, 1):.1f} {HEIGHT * (1 - (y - low) / (high - low)):.1f}"

    out = [f'<text y="-12" class="title">{title}</text>', f'<rect width="{WIDTH}" height="{HEIGHT}" class="frame"/>']
    for k in range(5):
        y = low + (high - low) * k / 4
        out.append(f'<text x="-6" y="{HEIGHT * (1 - k / 4) + 4:.1f}" text-anchor="end">{y:.3g}</text>')
    out += [f'<text y="{HEIGHT + 16}">1</text>', f'<text x="{WIDTH}" y="{HEIGHT + 16}" text-anchor="end">{unit} {last}</text>']
    for colour, points, mark in lines:
        out.append(f'<path d="M{"L".join(at(x, y) for x, y in points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in points:
            if x == mark:
                cx, cy = at(x, y).split()
                out.append(f'<circle cx="{cx}" cy="{cy}" r="4" fill="none" stroke="{colour}" stroke-width="2"/>')
    return out


def smooth(points, n):
    """Each the mean of itself and up to n - 1 before it."""
    return [(x, sum(y for _, y in points[max(0, i - n + 1):i + 1]) / min(i + 1, n)) for i, (x, _) in enumerate(points)]


def curves(title, lines, unit="iteration"):
    """A panel with a legend under it; lines: (words, colour, points) each."""
    words = [f'<text x="{150 * (i % 2)}" y="{HEIGHT + 32 + 14 * (i // 2)}" fill="{colour}">{name}</text>' for i, (name, colour, _) in enumerate(lines)]
    return panel(title, [(colour, points, None) for _, colour, points in lines], unit) + words


def picture(panels, below, room=0):
    """panels: lists of what is drawn in each, with `room` for legends under them; below: what stands under all of them."""
    down = HEIGHT + TOP + 30 + room
    body = []
    for i, drawn in enumerate(panels):
        body.append(f'<g transform="translate({LEFT + i % ACROSS * (WIDTH + LEFT + 10)} {TOP + i // ACROSS * down})">')
        body += drawn + ["</g>"]
    bottom = -(-len(panels) // ACROSS) * down + 14
    body.append(f'<g transform="translate({LEFT} {bottom})">')
    body += below + ["</g>"]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {ACROSS * (WIDTH + LEFT + 10) + 20} {bottom + (14 if below else -10)}" '
        'font-family="sans-serif" font-size="11"><style>.title{font-size:13px;font-weight:bold}.frame{fill:none;stroke:#888}</style>'
        '<rect width="100%" height="100%" fill="#fff"/>', *body, "</svg>"])
