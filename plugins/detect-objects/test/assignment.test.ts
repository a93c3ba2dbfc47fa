import t from 'tap'
import { assign } from '../assignment.ts'

/** A generator of numbers from 0 to 1, the same in every run. */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** What rows and columns cost together: a row that stays alone costs as much as a pair at the limit. */
function priceOf(costs: number[][], limit: number, pairs: [number, number][]): number {
  const alone = costs.length - pairs.length
  return pairs.reduce((sum, [row, column]) => sum + costs[row]![column]!, alone * limit)
}

/** The least price of all ways, found by trying all of them. */
function leastPrice(costs: number[][], limit: number, row = 0, taken = 0): number {
  if (row === costs.length) return 0
  let least = limit + leastPrice(costs, limit, row + 1, taken)
  for (const [column, cost] of costs[row]!.entries()) {
    if (cost >= limit || taken & (1 << column)) continue
    least = Math.min(least, cost + leastPrice(costs, limit, row + 1, taken | (1 << column)))
  }
  return least
}

t.test('no other way of pairing costs less', async (t) => {
  const random = randomNumbers(7)
  let worst = 0
  for (let trial = 0; trial < 3000; trial += 1) {
    const [rows, columns] = [Math.floor(random() * 7), 1 + Math.floor(random() * 6)]
    // Few different costs make ties, which is where augmenting paths go wrong.
    const steps = trial % 3 === 0 ? 3 : 1000
    const cost = () => (random() < 0.1 ? Infinity : Math.floor(random() * steps) / steps)
    const costs = Array.from({ length: rows }, () => Array.from({ length: columns }, cost))
    const limit = 0.2 + random()
    const pairs = assign(costs, limit)
    t.notOk(new Set(pairs.map(([row]) => row)).size < pairs.length)
    t.notOk(new Set(pairs.map(([, column]) => column)).size < pairs.length)
    t.notOk(pairs.some(([row, column]) => costs[row]![column]! >= limit))
    const off = priceOf(costs, limit, pairs) - leastPrice(costs, limit)
    worst = Math.max(worst, Math.abs(off))
  }
  t.ok(worst < 1e-9, `off by ${worst}`)
})

t.test('one row gives its best column up where that is cheaper for all', async (t) => {
  const costs = [
    [0.1, 0.2],
    [0.15, 0.9]
  ]
  t.same(assign(costs, 1), [
    [0, 1],
    [1, 0]
  ])
})

t.test('nothing to pair gives no pairs', async (t) => {
  t.same(assign([], 1), [])
  t.same(assign([[], []], 1), [])
  t.same(assign([[1, 2]], 1), [], 'a cost at the limit is no pair')
})
