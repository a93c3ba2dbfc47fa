/**
 * An expert of plain JavaScript for the items of pipelines. It writes the start and the end of each run to
 * `items.ndjson` in the folder that `LATCH_DIR` names, before it does anything else: so a test can count
 * runs, whoever died.
 *
 * What a run does stands in `extra_params`: in `of.<movie>`, else in `how`. `ms 30` takes 30 ms, `fail bad light`
 * answers that error and `throw bad light` throws it, `silent` fails without a word, `hold gate` waits for the file `gate` in
 * the folder (a signal ends that; in `stubborn gate` it does not), `kill 1` ends the process in the first run of that
 * movie, `exit 1` and `spin 1` accordingly, `add Movies/9` adds that movie to its own pipeline. `ms 5, kill 1` does one after
 * the other. `predict` does the same for the movie, and answers one record.
 *
 * @param {string} name
 * @param {{ version?: string, params?: object, dependency?: string, model?: string, byPredict?: boolean, waits?: boolean }} [options]
 *   byPredict: it has no `processMovie` of its own; waits: it starts when there is a file `start`
 * @returns {Record<string, string>} the files of the plugin
 */
export function notedItems(name, options = {}) {
  const { version = '1.0.0', params, dependency, model, byPredict = false, waits = false } = options
  const manifest = {
    ...{ name, version, type: 'module', keywords: ['nebula-expert'] },
    exports: './index.js'
  }
  const members = [
    params === undefined ? '' : `static params = ${JSON.stringify(params)}`,
    dependency === undefined ? '' : `getDependency() { return ${JSON.stringify(dependency)} }`,
    model === undefined ? '' : `getModelSha256() { return ${JSON.stringify(model)} }`,
    byPredict ? '' : PROCESS,
    waits ? "init() { return this.wait('start') }" : ''
  ]
  const head = `const VERSION = ${JSON.stringify(version)}\n`
  const index = `${head}${SOURCE.replace('/* MEMBERS */', members.join('\n  '))}`
  return { 'package.json': JSON.stringify(manifest), 'index.js': index }
}

const PROCESS = `
  processMovie(movie, { extraParams, pipelineId, task, jobId, signal }) {
    return this.run({ movie, extraParams, pipelineId, task, jobId, signal })
  }
`

const SOURCE = `
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { BaseExpert } from '@nebula-experts/sdk'

export default class NotedItems extends BaseExpert {
  static config = {
    type: 'object',
    required: ['LATCH_DIR'],
    properties: { LATCH_DIR: { type: 'string' } }
  }
  /* MEMBERS */

  async predict({ movie_id: movie, extra_params: extraParams }, { jobId, signal }) {
    const from = { movie, extraParams, pipelineId: null, task: this.getName(), jobId, signal }
    const { error } = await this.run(from)
    const result = [{ movie_id: movie, label: 'seen by ' + this.getName() }]
    return { result: error === null ? result : null, error }
  }

  async run({ movie, extraParams, pipelineId, task, jobId, signal }) {
    const folder = this.config.LATCH_DIR
    const how = extraParams?.of?.[movie] ?? extraParams?.how ?? ''
    const steps = how.split(', ').map((step) => /^(\\S*) ?(.*)$/.exec(step).slice(1))
    const times = steps.some(([verb]) => verb in deaths) ? this.#startsOf(task, movie) + 1 : 1
    const mark = process.pid + '-' + (count += 1)
    const note = (event, more) => {
      const line = { event, task, movie, pipeline: pipelineId, jobId, mark, pid: process.pid }
      const text = JSON.stringify({ ...line, at: Date.now(), version: VERSION, ...more })
      appendFileSync(join(folder, 'items.ndjson'), text + '\\n')
    }
    note('start', { extraParams })
    let answer = { ok: true, error: null }
    try {
      for (const [verb, words] of steps) {
        if (verb === 'ms') await pause(Number(words))
        if (verb === 'hold') await this.wait(words, signal)
        if (verb === 'stubborn') await this.wait(words)
        if (verb === 'fail') answer = { ok: false, error: words }
        if (verb === 'silent') answer = { ok: false }
        if (verb === 'throw') throw new Error(words)
        if (verb === 'add') await this.#add(words, pipelineId, task)
        if (verb in deaths && times <= Number(words)) deaths[verb]()
      }
    } catch (error) {
      note(signal.aborted ? 'aborted' : 'thrown')
      throw error
    }
    note('end')
    return answer
  }

  async wait(gate, signal) {
    while (!existsSync(join(this.config.LATCH_DIR, gate))) await pause(5, undefined, { signal })
  }

  async #add(movie, pipeline, task) {
    // Not this task's status: that is what the pipeline is to find out.
    const { error } = await this.pipelines.updatePipeline('seen', pipeline, { [movie]: 'by ' + task }, {})
    if (error !== null) throw new Error(error)
  }

  #startsOf(task, movie) {
    const file = join(this.config.LATCH_DIR, 'items.ndjson')
    if (!existsSync(file)) return 0
    const same = '"start","task":' + JSON.stringify(task) + ',"movie":' + JSON.stringify(movie) + ','
    return readFileSync(file, 'utf8').split('\\n').filter((line) => line.includes(same)).length
  }
}

let count = 0
const deaths = {
  exit: () => process.exit(3),
  kill: () => process.kill(process.pid, 'SIGKILL'),
  spin: () => { for (;;) {} }
}
`
