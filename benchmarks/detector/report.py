"""Markdown tables of a detector's measured parts."""


def to_markdown(result: dict) -> str:
    """Return the three tables, with medians and ranges in ms."""
    lines = []
    for title, key in (
        ('pipeline, ms per image', 'pipeline'),
        ('training step, ms', 'step'),
        ('evaluation, ms per image', 'evaluation'),
    ):
        lines += [f'| {title} | mmdet | lomar |', '|---|---:|---:|']
        for part, spreads in result[key].items():
            cells = [
                f'{s["median"]:.1f} ({s["least"]:.1f} to {s["most"]:.1f})' for s in spreads.values()
            ]
            lines.append(f'| {part} | {" | ".join(cells)} |')
        lines.append('')
    return '\n'.join(lines)
