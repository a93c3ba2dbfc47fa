import { type Box, intersectionOverUnion } from '@nebula-experts/sdk/images'
import t from 'tap'
import { boxPath, boxPathLength } from '../box-path.ts'
import type { DetectedObject } from '../nanodet-model.ts'
import { ObjectTracker } from '../object-tracker.ts'

const FPS = 25

function object(label: string, [x, y]: readonly [number, number], score = 0.8): DetectedObject {
  return { label, score, box: [x - 20, y - 40, x + 20, y + 40] }
}

/** Looks at each `every`-th frame; `seen` says what is detected there. */
function follow(
  frames: number,
  every: number,
  seen: (frame: number) => DetectedObject[],
  mergeIou = 0.95
): ObjectTracker {
  const tracker = new ObjectTracker(mergeIou)
  for (let number = 0; number < frames; number += every) {
    tracker.look({ number, second: number / FPS }, seen(number))
  }
  return tracker
}

/** A path is the object's own when all of its boxes lie on it. */
function isOn(path: Record<string, { bbox: number[] }>, truth: (frame: number) => Box): boolean {
  return Object.entries(path).every(
    ([frame, { bbox }]) => intersectionOverUnion(bbox as never, truth(Number(frame))) > 0.8
  )
}

t.test('objects keep their number while they move, and get paths without gaps', async (t) => {
  const person = (frame: number) => object('person', [50 + 2 * frame, 100])
  const dog = (frame: number) => object('dog', [600 - 3 * frame, 120 + frame])
  const { objects } = follow(101, 5, (frame) => [dog(frame), person(frame)])
  t.same(
    objects.map(({ number, label }) => [number, label]),
    [
      [0, 'dog'],
      [1, 'person']
    ]
  )
  for (const [index, truth] of [dog, person].entries()) {
    const path = boxPath(objects[index]!)
    t.equal(Object.keys(path).length, 101)
    t.equal(boxPathLength(objects[index]!), 101)
    t.ok(isOn(path, (frame) => truth(frame).box))
  }
})

t.test('what is out of sight for a while is known again where its way leads', async (t) => {
  const walk = (frame: number) => object('person', [50 + 4 * frame, 100])
  const isHidden = (frame: number) => frame > 30 && frame < 60
  const { objects } = follow(101, 5, (frame) => (isHidden(frame) ? [] : [walk(frame)]))
  t.equal(objects.length, 1)
  const path = boxPath(objects[0]!)
  t.ok(isOn(path, (frame) => walk(frame).box))
  const frames = Object.keys(path).map(Number)
  t.same(
    frames.filter((frame) => frame > 30 && frame < 60),
    [],
    'there is no box where it was not seen'
  )
  t.equal(frames.length, 31 + 41)
  t.equal(boxPathLength(objects[0]!), frames.length)
})

t.test('what comes back after too long is another', async (t) => {
  const still = object('person', [100, 100])
  const isHidden = (frame: number) => frame > 20 && frame < 140
  const { objects } = follow(200, 5, (frame) => (isHidden(frame) ? [] : [still]))
  t.equal(objects.length, 2)
  const rarely = follow(200, 40, (frame) => (isHidden(frame) ? [] : [still]))
  t.equal(rarely.objects.length, 1, 'few looks without it are no proof that it is gone')
})

t.test('two that cross keep their numbers, though one hides the other', async (t) => {
  for (const [dx, dy] of [
    [3, 0],
    [3, 1],
    [5, -1]
  ] as const) {
    const right = (frame: number) => object('person', [300 + dx * (frame - 50), 100 + dy * frame])
    const left = (frame: number) => object('person', [300 - dx * (frame - 50), 110], 0.7)
    const seen = (frame: number) => {
      const both = [right(frame), left(frame)]
      const isHidden = intersectionOverUnion(both[0]!.box, both[1]!.box) > 0.5
      return isHidden ? both.slice(0, 1) : both
    }
    const { objects } = follow(101, 2, seen)
    t.equal(objects.length, 2, `${dx}, ${dy}`)
    t.ok(isOn(boxPath(objects[0]!), (frame) => right(frame).box))
    t.ok(isOn(boxPath(objects[1]!), (frame) => left(frame).box))
  }
})

t.test('boxes that tremble are followed all the same', async (t) => {
  let state = 1
  const tremble = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state / 2 ** 32 - 0.5) * 8
  }
  const seen = (frame: number) =>
    [0, 1, 2, 3].map((lane) =>
      object('car', [100 + (2 + lane) * frame + tremble(), 100 + 90 * lane + tremble()])
    )
  const { objects } = follow(201, 4, seen)
  t.equal(objects.length, 4)
  t.ok(objects.every(({ sightings }) => sightings.length === 51))
})

t.test('the way of what is hidden is guessed from all that was seen of it', async (t) => {
  const walk = (frame: number) => object('person', [50 + 4 * frame, 100])
  // Three pixels to either side in turn, as from look to look: the last step alone tells little.
  const tremble = (frame: number) =>
    object('person', [50 + 4 * frame + (frame % 10 === 0 ? 3 : -3), 100])
  const isHidden = (frame: number) => frame > 55 && frame < 105
  const seen = (frame: number) => (isHidden(frame) ? [] : [frame > 55 ? walk : tremble])
  const { objects } = follow(150, 5, (frame) => seen(frame).map((at) => at(frame)))
  t.equal(objects.length, 1)
})

t.test('what moves by its width between its first two looks is the same', async (t) => {
  const run = (frame: number) => object('person', [50 + 9 * frame, 100])
  const { objects } = follow(101, 5, (frame) => [run(frame)])
  t.equal(objects.length, 1)
  t.ok(isOn(boxPath(objects[0]!), (frame) => run(frame).box))
  const small = { label: 'person', score: 0.8, box: [88, 80, 100, 104] as const }
  const other = follow(10, 5, (frame) => (frame === 0 ? [run(0)] : [small]))
  t.equal(other.objects.length, 2, 'something of another size is another')
})

t.test('what stands somewhere else is another, and so is another class', async (t) => {
  const jump = follow(10, 5, (frame) => [object('person', [frame === 0 ? 50 : 400, 100])])
  t.equal(jump.objects.length, 2)
  const classes = follow(10, 5, (frame) => [object(frame === 0 ? 'cat' : 'dog', [50, 100])], 1)
  t.same(
    classes.objects.map(({ label }) => label),
    ['cat', 'dog']
  )
})

t.test('a detection that overlaps a followed object enough is that object', async (t) => {
  const cat = (x: number) => object('cat', [x, 100], 0.6)
  const dog = (x: number) => object('dog', [x, 100], 0.5)
  const doubled = follow(20, 5, () => [cat(50), dog(51)], 0.9)
  t.same(
    doubled.objects.map(({ label }) => label),
    ['cat']
  )
  t.equal(follow(20, 5, () => [cat(50), dog(51)], 0.99).objects.length, 2)
  // It was taken for a dog more often than for a cat.
  const changed = follow(30, 5, (frame) => [frame < 10 ? cat(50) : dog(50)], 0.9)
  t.same(
    changed.objects.map(({ label, sightings }) => [label, sightings.length]),
    [['dog', 6]]
  )
})

t.test('between two looks box and score go straight', async (t) => {
  const tracker = new ObjectTracker(0.95, 7)
  tracker.look({ number: 10, second: 0 }, [{ label: 'cup', score: 0.5, box: [0, 0, 10, 20] }])
  tracker.look({ number: 14, second: 1 }, [{ label: 'cup', score: 0.9, box: [4, 0, 14, 28] }])
  const [cup] = tracker.objects
  t.equal(cup!.number, 7)
  t.same(boxPath(cup!), {
    10: { score: 0.5, bbox: [0, 0, 10, 20] },
    11: { score: 0.6, bbox: [1, 0, 11, 22] },
    12: { score: 0.7, bbox: [2, 0, 12, 24] },
    13: { score: 0.8, bbox: [3, 0, 13, 26] },
    14: { score: 0.9, bbox: [4, 0, 14, 28] }
  })
})
