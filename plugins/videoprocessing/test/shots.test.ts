import t from 'tap'
import { type FrameRange, intervalsOf, middleFramesOf, shotsOf } from '../shots.ts'

const cuts = (...frames: number[]) =>
  frames.map((frame) => ({ frame, second: frame / 25, score: 1 }))

/** Every frame in one part and in one only, in order. */
function isWhole(parts: FrameRange[], frames: number): boolean {
  const numbers = parts.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, index) => first + index)
  )
  return numbers.length === frames && numbers.every((number, index) => number === index)
}

t.test('shots lie between the cuts', async (t) => {
  t.strictSame(shotsOf([], 10), [[0, 9]])
  t.strictSame(shotsOf(cuts(4), 10), [
    [0, 3],
    [4, 9]
  ])
  t.strictSame(shotsOf(cuts(0, 9, 10, 11), 10), [
    [0, 8],
    [9, 9]
  ])
  t.strictSame(shotsOf([], 0), [])
})

t.test('intervals hold every frame once, at any rate', async (t) => {
  for (const fps of [0.5, 1, 23.976, 25, 29.97, 60]) {
    for (const frames of [1, 2, 99, 1000]) {
      for (const seconds of [0.01, 0.5, 1, 7.3, 1e6]) {
        const parts = intervalsOf(frames, fps, seconds)
        t.ok(isWhole(parts, frames), `${frames} frames at ${fps} by ${seconds} s`)
      }
    }
  }
  t.strictSame(intervalsOf(0, 25, 1), [])
  t.strictSame(intervalsOf(60, 25, 1), [
    [0, 24],
    [25, 49],
    [50, 59]
  ])
})

t.test('middle frames are inside, ascending and never twice', async (t) => {
  t.strictSame(middleFramesOf([0, 449], 3), [75, 225, 375])
  t.strictSame(middleFramesOf([10, 11], 3), [10, 11])
  t.strictSame(middleFramesOf([7, 7], 3), [7])
  t.strictSame(middleFramesOf([0, 24], 1), [12])
})
