import { Queue, Worker } from 'bullmq'

const body = { movie_id: 'Movies/92363371', local: false, is_async: true }

/** Jobs that do nothing, accepted one by one and then run by one worker. @returns how many a second of each */
export async function ofBullmq({ port, amount, atOnce }) {
  const connection = { host: '127.0.0.1', port }
  const queue = new Queue('bench', { connection })
  await queue.waitUntilReady()
  const accepting = await inFlight(amount, atOnce, () => queue.add('predict', body))
  let finished = 0
  const began = performance.now()
  const worker = new Worker('bench', async () => ({ result: null, error: null }), {
    connection,
    concurrency: atOnce
  })
  await new Promise((resolve) => {
    worker.on('completed', () => {
      finished += 1
      if (finished === amount) resolve()
    })
  })
  const seconds = (performance.now() - began) / 1000
  await worker.close()
  await queue.close()
  return { accepted: amount / accepting, finished: amount / seconds }
}

/** Does one thing so often, `atOnce` at the same time. @returns seconds */
export async function inFlight(amount, atOnce, once) {
  const began = performance.now()
  let begun = 0
  const line = async () => {
    while (begun < amount) {
      begun += 1
      await once()
    }
  }
  await Promise.all(Array.from({ length: atOnce }, line))
  return (performance.now() - began) / 1000
}
