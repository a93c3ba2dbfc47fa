/**
 * An expert of plain JavaScript that writes the start and the end of each run to `events.ndjson` in the
 * folder that `LATCH_DIR` names, before it does anything else: so a test can count runs, whoever died.
 *
 * What a run does stands in the picture's url, or in `extra_params.how`: `exit 2` ends the process in the
 * first two runs of that id, `abort 1`, `kill 1` and `spin 1` accordingly, `hold 1` waits until a file of the
 * id's name is in the folder, `ms 30` takes 30 ms each time, `bytes 5000` answers so many; `exit 1, hold 2` does
 * one after the other, and a `data:` URL must hold a picture. While there is a file `down`, its processes cannot start.
 *
 * @param {string} name
 * @returns {Record<string, string>} the files of the plugin
 */
export function notedRuns(name) {
  const manifest = {
    name,
    version: '1.0.0',
    type: 'module',
    keywords: ['nebula-expert'],
    exports: './index.js'
  }
  return { 'package.json': JSON.stringify(manifest), 'index.js': SOURCE }
}

const SOURCE = `
import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { BaseExpert } from '@nebula-experts/sdk'

export default class NotedRuns extends BaseExpert {
  static config = {
    type: 'object',
    required: ['LATCH_DIR'],
    properties: { LATCH_DIR: { type: 'string' } }
  }

  init() {
    if (existsSync(join(this.config.LATCH_DIR, 'down'))) throw new Error('it is down')
  }

  addExpertApis(api) {
    const body = {
      type: 'object',
      required: ['id'],
      properties: { id: { type: 'string' }, how: { type: 'string' } }
    }
    api.post('/weigh', { body, files: true, job: true }, async ({ body, files }, context) => {
      const answer = await this.#run(body.id, body.how, context)
      const hash = createHash('sha256')
      for (const { path } of files) hash.update(readFileSync(path))
      return { ...answer, result: hash.digest('hex') }
    })
    api.post('/file', { body, job: true }, async ({ body }, context) => {
      await this.#run(body.id, body.how, context)
      const path = join(context.tmp, 'answer.txt')
      writeFileSync(path, 'the file of ' + body.id)
      return api.reply({ path }, { type: 'text/plain' })
    })
  }

  predict({ id, extra_params }, context) {
    return this.#run(id, extra_params?.how, context)
  }

  predictImage({ id, img_url, extra_params }, context) {
    return this.#run(id, extra_params?.how ?? img_url, context)
  }

  async #run(id, how = '', { jobId, signal, tmp }) {
    const folder = this.config.LATCH_DIR
    const steps = how.split(', ').map((step) => step.split(' '))
    const run = steps.some(([verb]) => verb in acts) ? this.#startsOf(id) + 1 : 1
    const mark = process.pid + '-' + (count += 1)
    const note = (event) => {
      const line = JSON.stringify({ event, id, jobId, mark, pid: process.pid })
      appendFileSync(join(folder, 'events.ndjson'), line + '\\n')
    }
    note('start')
    let result = id
    for (const [verb, word] of steps) {
      const many = Number(word)
      if (verb === 'ms') await pause(many)
      if (verb.startsWith('data:')) await this.media.downloadImage(verb, { folder: tmp, signal })
      if (verb === 'bytes') result = 'x'.repeat(many)
      if (verb in acts && run <= many) await acts[verb](join(folder, id), signal)
    }
    note('end')
    return { result, mark, error: null }
  }

  #startsOf(id) {
    const file = join(this.config.LATCH_DIR, 'events.ndjson')
    if (!existsSync(file)) return 0
    const same = '"start","id":' + JSON.stringify(id) + ','
    return readFileSync(file, 'utf8').split('\\n').filter((line) => line.includes(same)).length
  }
}

let count = 0
const acts = {
  exit: () => process.exit(3),
  abort: () => process.abort(),
  kill: () => process.kill(process.pid, 'SIGKILL'),
  spin: () => { for (;;) {} },
  hold: async (latch, signal) => {
    while (!existsSync(latch)) await pause(5, undefined, { signal })
  }
}
`
