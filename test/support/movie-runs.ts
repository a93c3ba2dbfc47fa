/**
 * An expert of plain JavaScript with a batch and a task. It writes the start and the end of each run to
 * `events.ndjson` in the folder that `LATCH_DIR` names, and `stop` when its process ends in good order.
 *
 * The batch does what `HOW` says, a movie what its key begins with:
 * - `hold` waits until a file of the run's id is in the folder; its signal ends it, and is noted
 * - `ask` asks the host so often that whatever else it has to do has come up meanwhile
 * - `fail` fails, unless there is a file `fixed`
 * - `throw`, `late` (throws where nobody catches it), `exit 7`, `abort`, `deaf` (never ends, hears no signal), `empty` (gives nothing)
 * - anything else succeeds
 */
export function movieRuns(name: string): Record<string, string> {
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
import { appendFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { BaseExpert } from '@nebula-experts/sdk'

export default class MovieRuns extends BaseExpert {
  static config = {
    type: 'object',
    required: ['LATCH_DIR'],
    properties: { LATCH_DIR: { type: 'string' }, HOW: { type: 'string', default: '' } }
  }

  runBatch(context) {
    return this.#run('batch', this.config.HOW, context)
  }

  processMovie(movie, context) {
    const key = movie.replace('Movies/', '')
    return this.#run(key, key.split('-')[0], context)
  }

  async predict({ id, extra_params }, context) {
    return this.#run(id, extra_params?.how ?? '', context)
  }

  async handleExit() {
    this.#note('stop', '')
  }

  async #run(id, how, { jobId, signal }) {
    const folder = this.config.LATCH_DIR
    const [verb, word] = how.split(' ')
    this.#note('start', id, jobId)
    if (verb === 'hold') {
      try {
        while (!existsSync(join(folder, id))) await pause(5, undefined, { signal })
      } catch (error) {
        this.#note('signal', id, jobId)
        throw error
      }
    }
    if (verb === 'ask') for (let i = 0; i < 300; i++) await this.movies.get('none')
    if (verb === 'throw') throw new Error('it broke in the middle')
    if (verb === 'late') {
      setTimeout(() => { throw new Error('it broke behind its back') })
      await new Promise(() => {})
    }
    if (verb === 'exit') process.exit(Number(word))
    if (verb === 'abort') process.abort()
    if (verb === 'deaf') for (;;) {}
    this.#note('end', id, jobId)
    if (verb === 'empty') return undefined
    const isFailed = verb === 'fail' && !existsSync(join(folder, 'fixed'))
    return isFailed ? { ok: false, error: 'it fails' } : { ok: true, error: null }
  }

  #note(event, id, jobId) {
    const line = JSON.stringify({ event, id, jobId, pid: process.pid })
    appendFileSync(join(this.config.LATCH_DIR, 'events.ndjson'), line + '\\n')
  }
}
`
