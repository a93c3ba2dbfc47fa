/** A line of text as a tilted rectangle, in pixels of one picture. */
export interface TextBox {
  /** Centre. */
  x: number
  y: number
  /** Along the text, respectively across it. */
  width: number
  height: number
  /** Clockwise tilt in radians; 0 is level. */
  angle: number
}

/** A point; arrays of two keep the loops over outlines cheap. */
export type Point = readonly [x: number, y: number]

/** The smallest rectangle of a given tilt around some points. */
export function boxAround(points: readonly Point[], angle: number): TextBox {
  const cos = Math.cos(angle)
  const sin = Math.sin(angle)
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity]
  for (const [x, y] of points) {
    const along = x * cos + y * sin
    const across = y * cos - x * sin
    if (along < left) left = along
    if (along > right) right = along
    if (across < top) top = across
    if (across > bottom) bottom = across
  }
  const along = (left + right) / 2
  const across = (top + bottom) / 2
  return {
    x: along * cos - across * sin,
    y: along * sin + across * cos,
    width: right - left,
    height: bottom - top,
    angle
  }
}

/** The four corners, clockwise from the start of the text. */
export function cornersOf(box: TextBox): Point[] {
  const cos = Math.cos(box.angle)
  const sin = Math.sin(box.angle)
  const [w, h] = [box.width / 2, box.height / 2]
  const corners: Point[] = [
    [-w, -h],
    [w, -h],
    [w, h],
    [-w, h]
  ]
  return corners.map(([x, y]) => [box.x + x * cos - y * sin, box.y + x * sin + y * cos])
}

/** `[left, top, right, bottom]` in whole pixels, inside the picture. */
export function levelBounds(box: TextBox, size: { width: number; height: number }): number[] {
  const level = boxAround(cornersOf(box), 0)
  return [
    Math.max(0, Math.round(level.x - level.width / 2)),
    Math.max(0, Math.round(level.y - level.height / 2)),
    Math.min(size.width, Math.round(level.x + level.width / 2)),
    Math.min(size.height, Math.round(level.y + level.height / 2))
  ]
}
