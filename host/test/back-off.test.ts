import t from 'tap'
import { FailureRecord } from '../registry/back-off.ts'

function failed(times: number): FailureRecord {
  const record = new FailureRecord(5, 60_000)
  for (let i = 0; i < times; i++) record.add(i)
  return record
}

t.test('the first restart comes at once, then the wait doubles up to a bound', async (t) => {
  t.equal(new FailureRecord(5, 60_000).delay(), 0, 'nothing has failed')
  t.equal(
    failed(1).delay(() => 1),
    0
  )
  const longest = [2, 3, 4, 5, 6, 7, 8, 9, 50].map((times) => failed(times).delay(() => 1))
  t.strictSame(longest, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  const shortest = [2, 3, 50].map((times) => failed(times).delay(() => 0))
  t.strictSame(shortest, [250, 500, 15_000], 'jitter takes away at most half')
})

t.test('the wait lies within its bounds, and is not the same for all', async (t) => {
  const seen = new Set<number>()
  for (let i = 0; i < 200; i++) {
    const wait = failed(4).delay()
    t.ok(wait >= 1000 && wait <= 2000 && Number.isInteger(wait), String(wait))
    seen.add(wait)
  }
  t.ok(seen.size > 20)
})

t.test('so many failures within the time are a loop', async (t) => {
  t.equal(failed(4).isLoop, false)
  t.equal(failed(5).isLoop, true)
  const slow = new FailureRecord(3, 1000)
  for (const time of [0, 400, 1000, 1400, 2000]) slow.add(time)
  t.equal(slow.isLoop, false, 'never three in less than a second')
  slow.add(2100)
  t.equal(slow.isLoop, true)
  t.equal(slow.inARow, 6)
})

t.test('a success clears the count and the wait', async (t) => {
  const record = failed(5)
  record.clear()
  t.equal(record.isLoop, false)
  t.equal(record.inARow, 0)
  record.add(10)
  t.equal(record.delay(), 0)
  t.equal(record.isLoop, false)
})

t.test('one job that fails again and again counts once', async (t) => {
  const record = new FailureRecord(2, 1000)
  for (const time of [0, 100, 200]) record.add(time, 'job 1')
  t.equal(record.isLoop, false)
  t.equal(record.inARow, 1)
  record.add(1300, 'job 1')
  record.add(1400)
  t.equal(record.isLoop, true, 'what fails without a known cause always counts')
  const two = new FailureRecord(2, 1000)
  two.add(0, 'job 1')
  two.add(1, 'job 2')
  t.equal(two.isLoop, true)
})
