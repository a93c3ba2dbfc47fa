import type { TextBox } from './text-box.ts'

/** Puts lines into rows from top to bottom, and the lines of one row from left to right. */
export function sortLines<T extends { box: TextBox }>(lines: readonly T[]): T[] {
  const rows: T[][] = []
  for (const line of [...lines].sort((a, b) => a.box.y - b.box.y)) {
    const row = rows.at(-1)
    // Against the row's first line, not its last: a staircase of lines is no row.
    if (row !== undefined && isBeside(row[0]!.box, line.box)) row.push(line)
    else rows.push([line])
  }
  return rows.flatMap((row) => row.sort((a, b) => a.box.x - b.box.x))
}

function isBeside(a: TextBox, b: TextBox): boolean {
  return Math.abs(a.y - b.y) < 0.5 * Math.min(a.height, b.height)
}
