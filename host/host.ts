import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { HostConfig } from './config/host-config.ts'
import { readSettings } from './config/load-config.ts'
import { answerExpert, documentQuestions } from './documents/answer-expert.ts'
import { openDocumentStores } from './documents/document-stores.ts'
import { saveRecords } from './documents/save-records.ts'
import { buildExpertApp, type ExpertApp } from './http/expert-app.ts'
import { Front } from './http/front.ts'
import { buildHostApp } from './http/host-app.ts'
import { viewExpert } from './http/routes/experts-routes.ts'
import type { Retention } from './jobs/job-records.ts'
import { JobResults } from './jobs/job-results.ts'
import { JobService } from './jobs/job-service.ts'
import { jobStores } from './jobs/job-stores.ts'
import { KeptFiles } from './jobs/kept-files.ts'
import { MemoryJobRecords } from './jobs/memory-job-records.ts'
import { OutputFiles } from './jobs/output-files.ts'
import { EventFeed } from './observe/event-feed.ts'
import { createSilentLog, type Logger } from './observe/log.ts'
import { Metrics } from './observe/metrics.ts'
import { PipelineService } from './pipelines/pipeline-service.ts'
import { type Expert, expertStates } from './registry/expert.ts'
import type { Experts } from './registry/experts.ts'
import { Registry } from './registry/registry.ts'
import { makeRunFolder } from './registry/run-folder.ts'
import { Watch } from './registry/watch.ts'
import { Releasers } from './releasers.ts'
import { WebhookAddresses } from './webhooks/webhook-addresses.ts'
import { MOST_WAITING_BYTES, WebhookSender } from './webhooks/webhook-sender.ts'

/** A host that listens; its experts may still be starting. */
export interface Host {
  /** `http://…` of where it listens; empty when it does not. */
  readonly url: string
  readonly registry: Registry
  /** Resolves when every expert's first start has ended, well or not. */
  readonly started: Promise<void>
  /** Refuses new work, lets what runs end, ends every process. Safe to call twice. */
  stop(): Promise<void>
}

const MAX_FINISHED = 10_000
const MAX_FINISHED_BYTES = 256 * 1024 * 1024

/** How long answers that are being sent may take when the host stops, milliseconds. */
const CLOSE_MS = 5000

/** Puts a host together and makes it listen. Nothing here decides anything. */
export async function createHost(options: {
  config: HostConfig
  log?: Logger
  /** False for a host without a port, which only runs what it is told in its own process. Default: true. */
  listens?: boolean
}): Promise<Host> {
  const { config, listens = true } = options
  const log = options.log ?? createSilentLog()
  const releasers = new Releasers()
  try {
    const version = hostVersion()
    const metrics = new Metrics({ version, expertStates })
    const run = await makeRunFolder(config.dataDir)
    releasers.push(() => run.remove())

    const retention: Retention = {
      keepMs: config.jobsExpirationMs,
      maxFinished: MAX_FINISHED,
      maxFinishedBytes: MAX_FINISHED_BYTES
    }
    // What no other host may see, nor outlive this one, lies in the folder of this run.
    const storeDir = config.store === 'memory' ? run.path : config.dataDir
    const documents =
      config.arango === null
        ? await openDocumentStores.sqlite({ dir: join(storeDir, 'documents'), log })
        : await openDocumentStores.arango({ ...config.arango, log })
    releasers.push(() => documents.close())
    // One that does not listen takes no jobs, and leaves those of others alone.
    const jobDir = join(listens ? storeDir : run.path, 'jobs')
    const { jobStoreMaxBytes: maxBytes } = config
    const { redisUrl, jobsAbsentMs: absentMs } = config
    const kind = redisUrl === null ? config.store : 'redis'
    const openJobs = jobStores[listens ? kind : 'memory']
    const store = await openJobs({
      ...{ dir: jobDir, maxBytes, retention, url: redisUrl, absentMs, log }
    })
    releasers.push(() => store.close())
    const webhooks = new WebhookSender({
      outbox: store.outbox,
      addresses: new WebhookAddresses(config.media.allowHosts),
      secrets: config.webhookSecrets,
      waitsMs: config.webhookWaitsMs,
      // Else what waits for a receiver that is gone takes the room of the jobs.
      ...(maxBytes !== null && { maxWaitingBytes: Math.min(MOST_WAITING_BYTES, maxBytes / 4) }),
      observer: metrics,
      log
    })
    releasers.push(() => webhooks.close())
    const outputs = new OutputFiles(config.outputRoot)
    const experts: Experts = {
      get all() {
        return registry.all
      },
      get: (name) => registry.get(name)
    }
    const jobs = new JobService({
      volatile: new MemoryJobRecords(retention),
      durable: store.records,
      dispatch: store.dispatch,
      exchange: store.exchange,
      experts,
      uploads: new KeptFiles(join(jobDir, 'uploads')),
      results: new JobResults({
        files: new KeptFiles(join(jobDir, 'results')),
        outputs,
        save: (expert, records) => saveRecords(documents, expert, records),
        log
      }),
      outputs,
      webhooks,
      maxWaitMs: config.maxWaitMs,
      maxBacklog: config.maxBacklog,
      absentMs,
      observer: metrics,
      log
    })
    releasers.push(() => jobs.close())

    const pipelines = new PipelineService({
      documents,
      experts,
      runsOthers: config.runPipeline,
      observer: metrics,
      log
    })
    releasers.push(() => pipelines.close())

    const questions = documentQuestions(documents)
    const events = new EventFeed()
    const apps = new Map<Expert, ExpertApp>()
    releasers.push(() => Promise.all([...apps.values()].map((app) => app.close())))
    const uploadDir = join(run.path, 'uploads')
    const registry: Registry = new Registry(config, {
      log,
      runDir: run.path,
      prepareRoutes: async (expert, contract) => {
        const own = log.child({ expert: expert.name })
        const tallies = metrics.routesFor(expert.name)
        const app = await buildExpertApp({
          ...{ expert, contract, jobs, config, log: own, uploadDir, tallies }
        })
        return () => {
          void apps.get(expert)?.close()
          apps.set(expert, app)
          metrics.useRoutes(expert.name, tallies)
        }
      },
      answer: (expert, what, args) => answerExpert(questions, expert, what, args),
      calls: metrics,
      processes: metrics,
      onState: (expert) => {
        if (expert.state === 'STOPPED') metrics.forget(expert.name)
        events.publish('expert', viewExpert(expert))
        jobs.pump(expert)
        pipelines.pump(expert)
      }
    })
    await jobs.resume()
    await registry.find()
    if (listens) pipelines.resume()

    if (listens) {
      const watch = new Watch({ registry, config, log, readSettings: () => readSettings(config) })
      releasers.push(() => watch.close())
    }

    const front = new Front(registry, (expert) => apps.get(expert))
    const app = await buildHostApp({
      config,
      registry,
      jobs,
      jobStore: store,
      documents,
      pipelines,
      webhooks,
      events,
      metrics,
      log,
      front,
      version
    })
    releasers.push(() => {
      // A client that reads its answer slowly, or not at all, does not keep the host.
      const late = setTimeout(() => app.server.closeAllConnections(), CLOSE_MS)
      return app.close().finally(() => clearTimeout(late))
    })
    // The server closes when its last answer has ended, and these never do by themselves.
    releasers.push(() => events.close())
    releasers.push(() => jobs.stopFollowers())
    releasers.push(() => pipelines.stopFollowers())
    releasers.push(() => registry.stop())
    releasers.push(() => {
      front.isStopping = true
    })
    let url = ''
    if (listens) {
      await app.listen({ port: config.port, host: config.host })
      url = urlOf(app.server.address() as AddressInfo)
      log.info({ url, experts: registry.all.map((expert) => expert.name) }, `listening on ${url}`)
    }

    let stopped: Promise<void> | null = null
    return {
      url,
      registry,
      started: registry.start(),
      stop: () => {
        stopped ??= releasers.release()
        return stopped
      }
    }
  } catch (error) {
    await releasers.release()
    throw error
  }
}

function urlOf({ address, port, family }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function hostVersion(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return JSON.parse(manifest).version
}
