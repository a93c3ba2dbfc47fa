import { boxAround, type Point, type TextBox } from './text-box.ts'

/** A map of how likely each pixel belongs to text, row-major, 0 to 1. */
export interface TextMap {
  data: Float32Array
  width: number
  height: number
}

const PIXEL_MIN = 0.3
const REGION_MIN = 0.6
const AREA_MIN = 10
// The model marks only the core of each line; this is the growth its training shrank by.
const UNCLIP = 1.5
// More regions than this is texture, not text; it bounds the time of what follows.
const REGIONS_MAX = 1000
// A tilted rectangle must be this much smaller than a level one: short words tilt by accident.
const TILT_GAIN = 0.88
const TILT_ASPECT = 3

interface Region {
  area: number
  sum: number
  outline: Point[]
}

/** Turns a map into rectangles around connected regions, grown to the full height of their text. */
export function textRegions(map: TextMap): TextBox[] {
  const outlines = connectedRegions(map)
    .filter((region) => region.area >= AREA_MIN && region.sum / region.area >= REGION_MIN)
    .sort((a, b) => b.area - a.area)
    .slice(0, REGIONS_MAX)
    .map((region) => convexHull(region.outline))
  const page = pageAngle(outlines)
  return outlines.map((outline) => grow(bestBox(outline, page)))
}

function connectedRegions({ data, width, height }: TextMap): Region[] {
  const seen = new Uint8Array(data.length)
  const stack: number[] = []
  const regions: Region[] = []
  for (let start = 0; start < data.length; start += 1) {
    if (seen[start] === 1 || data[start]! <= PIXEL_MIN) continue
    const region = { area: 0, sum: 0, outline: [] as Point[] }
    // Only the ends of each row can lie on the hull.
    const rows = new Map<number, [first: number, last: number]>()
    seen[start] = 1
    stack.push(start)
    while (stack.length > 0) {
      const at = stack.pop()!
      const x = at % width
      const y = (at - x) / width
      region.area += 1
      region.sum += data[at]!
      const row = rows.get(y)
      if (row === undefined) rows.set(y, [x, x])
      else if (x < row[0]) row[0] = x
      else if (x > row[1]) row[1] = x
      for (let ny = Math.max(0, y - 1); ny <= Math.min(height - 1, y + 1); ny += 1) {
        for (let nx = Math.max(0, x - 1); nx <= Math.min(width - 1, x + 1); nx += 1) {
          const next = ny * width + nx
          if (seen[next] === 1 || data[next]! <= PIXEL_MIN) continue
          seen[next] = 1
          stack.push(next)
        }
      }
    }
    for (const [y, [first, last]] of rows) {
      region.outline.push([first, y], [last + 1, y], [first, y + 1], [last + 1, y + 1])
    }
    regions.push(region)
  }
  return regions
}

function convexHull(points: Point[]): Point[] {
  const sorted = points.sort((a, b) => a[0] - b[0] || a[1] - b[1])
  const chain = (ordered: Point[]): Point[] => {
    const hull: Point[] = []
    for (const point of ordered) {
      while (hull.length > 1 && turn(hull.at(-2)!, hull.at(-1)!, point) <= 0) hull.pop()
      hull.push(point)
    }
    hull.pop()
    return hull
  }
  return [...chain(sorted), ...chain([...sorted].reverse())]
}

function turn(a: Point, b: Point, c: Point): number {
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

/** The rectangle of least area lies along one edge of the hull. Tilts are within ±45°. */
function tightestBox(hull: Point[]): TextBox {
  let best = boxAround(hull, 0)
  for (const [index, [x, y]] of hull.entries()) {
    const [nextX, nextY] = hull[(index + 1) % hull.length]!
    const edge = Math.atan2(nextY - y, nextX - x)
    const angle = edge - Math.round(edge / (Math.PI / 2)) * (Math.PI / 2)
    const box = boxAround(hull, angle)
    if (box.width * box.height < best.width * best.height) best = box
  }
  return best
}

/** Tilt of the page: of its long lines, the median by length. */
function pageAngle(outlines: Point[][]): number {
  const long = outlines
    .map(tightestBox)
    .filter((box) => box.width >= TILT_ASPECT * box.height)
    .sort((a, b) => a.angle - b.angle)
  let half = long.reduce((sum, box) => sum + box.width, 0) / 2
  for (const box of long) {
    half -= box.width
    if (half <= 0) return box.angle
  }
  return 0
}

function bestBox(outline: Point[], page: number): TextBox {
  const level = boxAround(outline, 0)
  const own = tightestBox(outline)
  const isLong = Math.max(own.width, own.height) >= TILT_ASPECT * Math.min(own.width, own.height)
  const tilted = isLong ? own : boxAround(outline, page)
  const gain = (tilted.width * tilted.height) / (level.width * level.height)
  return gain < TILT_GAIN ? tilted : level
}

function grow(box: TextBox): TextBox {
  const by = (box.width * box.height * UNCLIP) / (2 * (box.width + box.height))
  return { ...box, width: box.width + 2 * by, height: box.height + 2 * by }
}
