// The host's memory over 100 reloads of the ocr expert: the slope of the last 80 after forced collections.
// A control that leaks on purpose must fail the same check.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createHost, loadConfig } from '@nebula-experts/host'

const RELOADS = 100
const COUNTED = 80
const MOST_BYTES = 50 * 1024
const OCR = fileURLToPath(new URL('../../plugins/ocr', import.meta.url))

export default async function reloadMemory() {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  const home = await mkdtemp(join(tmpdir(), 'nebula-chaos-'))
  await writeFile(join(home, 'experts.config.json'), '{"plugins_dir": []}')
  const env = { ...process.env, EXPERT_PLUGINS: OCR, PORT: '0', HOST: '127.0.0.1' }
  const host = await createHost({ config: loadConfig(env, home) })
  try {
    await host.started
    const measure = async (reload) => {
      const used = []
      for (let i = 0; i < RELOADS; i++) {
        await reload()
        collect()
        used.push(process.memoryUsage().rss)
      }
      return slope(used.slice(-COUNTED))
    }
    const reload = async () => {
      const answer = await fetch(`${host.url}/manage/experts/ocr/reload`, { method: 'POST' })
      if (answer.status !== 200)
        throw new Error(`reload answered ${answer.status}: ${await answer.text()}`)
      await answer.arrayBuffer()
    }
    const found = await measure(reload)
    const kept = []
    const control = await measure(async () => kept.push(Buffer.alloc(200 * 1024, 1)))
    const text = (bytes) => `${(bytes / 1024).toFixed(1)} kB a reload`
    return [
      {
        what: `host memory over ${RELOADS} reloads of ocr`,
        found: text(found),
        kept: found <= MOST_BYTES
      },
      {
        what: 'a control that leaks 200 kB each time is seen',
        found: text(control),
        kept: control > MOST_BYTES
      }
    ]
  } finally {
    await host.stop()
    await rm(home, { recursive: true, force: true })
  }
}

/** Least squares, per step. */
function slope(values) {
  const n = values.length
  const meanX = (n - 1) / 2
  const meanY = values.reduce((sum, value) => sum + value, 0) / n
  let over = 0
  let under = 0
  for (let x = 0; x < n; x++) {
    over += (x - meanX) * (values[x] - meanY)
    under += (x - meanX) ** 2
  }
  return over / under
}
