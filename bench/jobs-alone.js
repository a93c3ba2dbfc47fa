import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { JobResults } from '../host/dist/jobs/job-results.js'
import { JobService } from '../host/dist/jobs/job-service.js'
import { jobStores } from '../host/dist/jobs/job-stores.js'
import { KeptFiles } from '../host/dist/jobs/kept-files.js'
import { MemoryJobRecords } from '../host/dist/jobs/memory-job-records.js'
import { OutputFiles } from '../host/dist/jobs/output-files.js'
import { createSilentLog } from '../host/dist/observe/log.js'

const ANSWER = { ok: true, text: '{"result":null,"error":null}', head: null }

/**
 * The host's jobs without server and without processes: accepted jobs wait on disk until `runAll`, and
 * then a run does nothing. On disk of their own, or with `redisUrl` on that of a Redis.
 */
export async function startJobs({ concurrency, redisUrl }) {
  const dir = await mkdtemp(join(tmpdir(), 'nebula-bench-jobs-'))
  const retention = { keepMs: 86_400_000, maxFinished: 10_000, maxFinishedBytes: 256 * 1024 ** 2 }
  const log = createSilentLog()
  const kind = redisUrl === undefined ? 'sqlite' : 'redis'
  const store = await jobStores[kind]({
    ...{ dir, maxBytes: null, retention, log, url: redisUrl, absentMs: 60_000 }
  })
  let finished = 0
  let onFinished = () => {}
  const expert = {
    name: 'noop',
    version: '1.0.0',
    state: 'ACTIVE',
    refusal: null,
    isServing: false,
    slots: concurrency,
    meanRunMs: 0.05,
    settings: {},
    contract: null,
    submit: (run) => {
      run.onStart?.()
      setImmediate(run.done, ANSWER)
    },
    countEnd: () => {}
  }
  const { dispatch } = store
  const done = dispatch.done.bind(dispatch)
  dispatch.done = async (claim) => {
    await done(claim)
    finished += 1
    onFinished()
  }
  const outputs = new OutputFiles(null)
  const jobs = new JobService({
    volatile: new MemoryJobRecords(retention),
    durable: store.records,
    dispatch,
    exchange: store.exchange,
    experts: { all: [expert], get: () => expert },
    uploads: new KeptFiles(join(dir, 'uploads')),
    results: new JobResults({
      files: new KeptFiles(join(dir, 'results')),
      outputs,
      save: async () => [],
      log
    }),
    outputs,
    webhooks: { check: async (url) => ({ url, origin: url }), isFull: false, limit: 1 },
    maxWaitMs: 60_000,
    maxBacklog: 1_000_000,
    absentMs: 60_000,
    log
  })
  return {
    /** The line of its store, without records. */
    dispatch,
    submit: (body) => jobs.submit({ expert, kind: 'movie', bodies: [body] }),
    runAll: (amount) =>
      new Promise((resolve) => {
        onFinished = () => finished === amount && resolve()
        expert.isServing = true
        jobs.pump(expert)
      }),
    stop: async () => {
      await jobs.close()
      await store.close()
      await rm(dir, { recursive: true, force: true })
    }
  }
}
