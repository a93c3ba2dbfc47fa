import t from 'tap'
import { RunQueue } from '../admission/run-queue.ts'

function filled(...entries: Array<[string, number?]>): RunQueue<string> {
  const queue = new RunQueue<string>()
  for (const [item, priority] of entries) queue.push(item, priority)
  return queue
}

t.test('first come, first served within one priority; higher priorities first', async (t) => {
  const queue = filled(['a'], ['b', 5], ['c'], ['d', 5], ['e', -1], ['f', 9], ['g'])
  t.equal(queue.size, 7)
  t.equal(queue.first, 'f')
  t.equal(queue.size, 7, 'looking takes nothing')
  const order = Array.from({ length: 7 }, () => queue.shift())
  t.strictSame(order, ['f', 'b', 'd', 'a', 'c', 'g', 'e'])
  t.equal(queue.shift(), undefined)
  t.equal(queue.first, undefined)
  t.equal(queue.size, 0)
})

t.test('what had its turn goes back in front of all, in its order', async (t) => {
  const queue = filled(['a', 9], ['b'])
  queue.putBack(['x', 'y'])
  queue.push('late', 1000)
  t.strictSame(queue.drain(), ['x', 'y', 'late', 'a', 'b'])
})

t.test('one that waits can be taken out, once', async (t) => {
  const queue = filled(['a'], ['b'], ['c'])
  t.equal(queue.remove('b'), true)
  t.equal(queue.remove('b'), false)
  t.equal(queue.remove('never'), false)
  t.strictSame(queue.drain(), ['a', 'c'])
  t.strictSame(queue.drain(), [])
})
