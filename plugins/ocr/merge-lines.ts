import { boxAround, cornersOf, type TextBox } from './text-box.ts'

// In heights of the lower box: how far two words of one line lie apart, along and across it.
const GAP_MAX = 0.6
const SHIFT_MAX = 0.35
const HEIGHT_RATIO_MAX = 1.8
const ANGLE_MAX = (6 * Math.PI) / 180

/** Joins words that stand on one line; columns, which lie further apart, stay apart. */
export function mergeLines(boxes: readonly TextBox[]): TextBox[] {
  const lines = [...boxes]
  for (let a = 0; a < lines.length; a += 1) {
    for (let b = a + 1; b < lines.length; b += 1) {
      const joined = joinedLine(lines[a]!, lines[b]!)
      if (joined === null) continue
      lines[a] = joined
      lines.splice(b, 1)
      // The longer line may now reach words that were too far away before.
      b = a
    }
  }
  return lines
}

function joinedLine(a: TextBox, b: TextBox): TextBox | null {
  const longer = a.width >= b.width ? a : b
  const shorter = longer === a ? b : a
  if (isUpright(longer) || isUpright(shorter)) return null
  if (Math.abs(a.angle - b.angle) > ANGLE_MAX) return null
  const other = boxAround(cornersOf(shorter), longer.angle)
  const height = Math.min(longer.height, shorter.height)
  if (Math.max(longer.height, shorter.height) > HEIGHT_RATIO_MAX * height) return null
  const cos = Math.cos(longer.angle)
  const sin = Math.sin(longer.angle)
  const along = (other.x - longer.x) * cos + (other.y - longer.y) * sin
  const across = (other.y - longer.y) * cos - (other.x - longer.x) * sin
  const gap = Math.abs(along) - (longer.width + other.width) / 2
  if (gap > GAP_MAX * height || Math.abs(across) > SHIFT_MAX * height) return null
  return boxAround([...cornersOf(longer), ...cornersOf(shorter)], longer.angle)
}

function isUpright(box: TextBox): boolean {
  return box.height > 1.5 * box.width
}
