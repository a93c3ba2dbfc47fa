// How long the host's own event loop is held up while an expert's native code runs flat out.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { createHost, loadConfig } from '@nebula-experts/host'

const OCR = fileURLToPath(new URL('../plugins/ocr', import.meta.url))
const PAGES = fileURLToPath(new URL('../plugins/ocr/test/fixtures/', import.meta.url))
const READS = 20

export default async function eventLoop() {
  const home = await mkdtemp(join(tmpdir(), 'nebula-bench-'))
  await writeFile(join(home, 'experts.config.json'), '{}')
  const env = { ...process.env, EXPERT_PLUGINS: OCR, PORT: '0', HOST: '127.0.0.1' }
  const host = await createHost({ config: loadConfig(env, home) })
  await host.started
  try {
    const pages = JSON.parse(await readFile(join(PAGES, 'pages.json'), 'utf8'))
    const picture = await readFile(join(PAGES, pages[0].file))
    const read = async () => {
      const answer = await fetch(`${host.url}/read`, { method: 'POST', body: picture })
      if (answer.status !== 200) throw new Error(`ocr answered ${answer.status}`)
      await answer.arrayBuffer()
    }
    await read()
    const idle = await delays(() => new Promise((resolve) => setTimeout(resolve, 3000)))
    const began = performance.now()
    const busy = await delays(async () => {
      // Two at once, so that the expert never waits for the next one.
      await Promise.all(
        [0, 1].map(async () => {
          for (let i = 0; i < READS / 2; i++) await read()
        })
      )
    })
    const perSecond = (READS * 1000) / (performance.now() - began)
    return [
      {
        what: 'host event-loop delay p99 while OCR runs flat out, over the idle delay, ms',
        value: `${busy.toFixed(2)} ms against ${idle.toFixed(2)} ms idle; ${perSecond.toFixed(1)} pages/s`,
        ratio: busy - idle,
        atMost: 20
      }
    ]
  } finally {
    await host.stop()
    await rm(home, { recursive: true, force: true })
  }
}

/** p99 of the loop's delay while something runs, milliseconds. */
async function delays(work) {
  const histogram = monitorEventLoopDelay({ resolution: 5 })
  histogram.enable()
  await work()
  histogram.disable()
  return histogram.percentile(99) / 1e6
}
