import { randomUUID } from 'node:crypto'
import type { DocumentStores } from '../documents/document-stores.ts'
import type { ItemQuery, PipelineItem, PipelineQuery } from '../documents/pipeline-store.ts'
import { type DocumentFields, isObject, type StoredDocument } from '../documents/stored-document.ts'
import { hostError } from '../errors.ts'
import { ExpertRoom } from '../jobs/expert-room.ts'
import type { PipelineReading } from '../observe/host-readings.ts'
import type { Logger } from '../observe/log.ts'
import type { ItemObserver } from '../observe/observers.ts'
import type { Expert } from '../registry/expert.ts'
import type { Experts } from '../registry/experts.ts'
import type { TaskCounts } from './conclude.ts'
import { moviesOfInputs } from './inputs.ts'
import { type PipelineEvent, PipelineFeeds } from './pipeline-feeds.ts'
import { PipelineRun } from './pipeline-run.ts'
import { type PlanExperts, type PlanProblem, type RunnableTask, readPlan } from './plan.ts'

export interface PipelineServiceOptions {
  documents: DocumentStores
  experts: Experts
  /** `EXPERT_RUN_PIPELINE`: pipelines that other tools wrote are run too. */
  runsOthers: boolean
  observer: ItemObserver
  log: Logger
}

/** Where a pipeline stands; a document that another tool wrote has none of these until it is run. */
export type PipelineStatus = 'created' | 'running' | 'succeeded' | 'failed' | 'canceled'

/** How often the store is asked for pipelines to work on, milliseconds. */
const POLL_MS = 3000
const PAGE = 1000

/**
 * Pipelines: makes them, and works on every one that runs. A host that shares its store with others joins
 * in whatever runs there; one that was ended goes on when it is started again.
 */
export class PipelineService {
  readonly #options: PipelineServiceOptions
  readonly #owner = `host/${randomUUID()}`
  readonly #room = new ExpertRoom()
  readonly #runs = new Map<string, PipelineRun>()
  readonly #leaving = new Set<Promise<void>>()
  readonly #feeds = new PipelineFeeds()
  readonly #plansReadAgainst: PlanExperts
  #poller: NodeJS.Timeout | null = null
  #polling: Promise<void> | null = null
  readonly #closing = new AbortController()
  /** Documents of other tools that cannot be run, as they were. */
  readonly #refused = new Map<string, string>()

  constructor(options: PipelineServiceOptions) {
    this.#options = options
    const { experts } = options
    this.#plansReadAgainst = {
      nameOf: (name) => experts.get(name)?.name,
      dependencyOf: (name) => {
        const expert = experts.get(name)
        const hasSaid = expert?.contract != null || expert?.state !== 'STARTING'
        return hasSaid ? (expert?.contract?.dependency ?? null) : undefined
      },
      problemsWith: (name, extraParams) => {
        const checked = experts.get(name)?.contract?.checkExtraParams?.(extraParams, [])
        return (checked?.issues ?? []).map(({ loc, msg }) => ({ loc, why: msg }))
      }
    }
  }

  /** What plans are read against. */
  get planExperts(): PlanExperts {
    return this.#plansReadAgainst
  }

  /** Takes up what runs in the store, now and from time to time. */
  resume(): void {
    this.#poller = setInterval(() => this.#poll(), POLL_MS)
    this.#poller.unref()
    this.#poll()
  }

  /** Writes a new pipeline; it does not run yet. @throws HostError HOST_DOCUMENT_EXISTS, HOST_DOCUMENT_INVALID */
  create(document: DocumentFields): Promise<StoredDocument> {
    const status: PipelineStatus = 'created'
    const created = { ...document, status, created_at: new Date().toISOString() }
    return this.#store.create(created)
  }

  /**
   * The document, with `counts` of its items as far as they are known here.
   * @throws HostError HOST_DOCUMENT_UNKNOWN
   */
  async get(id: string, options: { movies: boolean }): Promise<StoredDocument> {
    const document = await this.#store.get(id, options)
    if (document === undefined) throw unknown(id)
    return this.#withCounts(document)
  }

  async list(
    query: PipelineQuery
  ): Promise<{ documents: StoredDocument[]; next: string | undefined }> {
    const { documents, next } = await this.#store.list(query)
    return { documents: documents.map((document) => this.#withCounts(document)), next }
  }

  /** @throws HostError HOST_DOCUMENT_UNKNOWN */
  async items(query: ItemQuery): Promise<{ items: PipelineItem[]; next: string | undefined }> {
    const { _key } = await this.#known(query.pipeline)
    return this.#store.items({ ...query, pipeline: _key })
  }

  /**
   * Runs what has not run yet; of a pipeline that runs, nothing changes.
   * @throws HostError HOST_DOCUMENT_UNKNOWN, HOST_PIPELINE_STATE when it has nothing to run
   */
  async run(id: string): Promise<StoredDocument> {
    const document = await this.#known(id)
    if (document.status === 'running') return this.#withCounts(document)
    const movies = await this.#moviesOf(document, this.#tasksOf(document))
    // Somebody else was faster: whatever it is now.
    return (await this.#begin(document, movies)) ?? this.run(id)
  }

  /**
   * Runs what failed and what was skipped once more, and what has not run yet.
   * @throws HostError HOST_DOCUMENT_UNKNOWN, HOST_PIPELINE_STATE when it runs, or has nothing to run
   */
  async retry(id: string): Promise<StoredDocument> {
    const document = await this.#known(id)
    if (document.status === 'running') throw hostError('HOST_PIPELINE_STATE', ['it is running'])
    await this.#store.reconcile(document._key, this.#tasksOf(document), { again: true })
    return this.run(id)
  }

  /**
   * Ends a pipeline: what runs gets the signal and two seconds, what waits stays as it is and can be run later.
   * @throws HostError HOST_DOCUMENT_UNKNOWN, HOST_PIPELINE_STATE when it has ended
   */
  async cancel(id: string): Promise<StoredDocument> {
    const document = await this.#known(id)
    const status: PipelineStatus = 'canceled'
    const fields = { status, finished_at: new Date().toISOString() }
    const open = ['created', 'running', null]
    const canceled = await this.#store.update(document._key, { fields }, { status: open })
    if (canceled === undefined) throw unknown(id)
    if (canceled === null) {
      const { status: now } = await this.#known(id)
      throw hostError('HOST_PIPELINE_STATE', [`it is ${now}`])
    }
    const run = this.#runs.get(document._key)
    if (run !== undefined) await this.#detach(run)
    this.#feeds.publish(viewProgress(canceled))
    return canceled
  }

  /** What this host works on, as far as it knows it. */
  get underWay(): PipelineReading {
    const items: PipelineReading['items'] = new Map()
    for (const run of this.#runs.values()) run.addItems(items)
    return { count: this.#runs.size, items }
  }

  /** Calls `listener` for what happens to a pipeline, and with null when the host stops. @returns what ends that */
  follow(id: string, listener: (event: PipelineEvent | null) => void): () => void {
    return this.#feeds.listen(id, listener)
  }

  /** Claims items for an expert that may have room now: of each pipeline in turn. */
  pump(expert: Expert): void {
    for (const run of [...this.#runs.values()]) {
      if (!run.pump(expert)) continue
      this.#runs.delete(run.id)
      this.#runs.set(run.id, run)
    }
  }

  /** Ends the streams of those who follow pipelines. */
  stopFollowers(): void {
    this.#feeds.close()
  }

  /** Resolves when what has ended is written. The experts have stopped before. */
  async close(): Promise<void> {
    this.#closing.abort()
    if (this.#poller !== null) clearInterval(this.#poller)
    await this.#polling
    await Promise.all([...this.#runs.values()].map((run) => run.close()))
    await Promise.all(this.#leaving)
  }

  get #store() {
    return this.#options.documents.pipelines
  }

  async #known(id: string): Promise<StoredDocument> {
    const document = await this.#store.get(id, { movies: false })
    if (document === undefined) throw unknown(id)
    return document
  }

  #tasksOf(document: StoredDocument): RunnableTask[] {
    const { tasks, problems } = readPlan(document, this.#plansReadAgainst)
    const [problem] = problems
    if (problem !== undefined) {
      const why = `its ${problem.loc.join('.')} cannot be read: ${problem.why}`
      throw hostError('HOST_PIPELINE_STATE', [why])
    }
    if (tasks.length === 0) {
      const why = 'it has no plan, and its inputs name no expert of this host'
      throw hostError('HOST_PIPELINE_STATE', [why])
    }
    return tasks
  }

  /** @returns the document as it runs; null when its status is another by now */
  async #begin(
    document: StoredDocument,
    movies: Record<string, DocumentFields>
  ): Promise<StoredDocument | null> {
    const { _key: key } = document
    const status: PipelineStatus = 'running'
    const fields = { status, started_at: new Date().toISOString(), finished_at: null, counts: null }
    const before = typeof document.status === 'string' ? document.status : null
    const begun = await this.#store.update(key, { fields, movies }, { status: [before] })
    if (begun === undefined) throw unknown(key)
    if (begun !== null) this.#attach(begun)
    return begun
  }

  /** Entries for the movies that the inputs of the pipeline's own tasks name by address. */
  #moviesOf(
    document: StoredDocument,
    tasks: readonly RunnableTask[]
  ): Promise<Record<string, DocumentFields>> {
    const named = tasks.map(({ task }) => task)
    const { movies } = this.#options.documents
    return moviesOfInputs(document, named, movies, this.#closing.signal)
  }

  #attach(document: StoredDocument): void {
    const { _key: id } = document
    if (this.#runs.has(id) || this.#closing.signal.aborted) return
    const { experts, observer, log } = this.#options
    const { tasks, problems } = readPlan(document, this.#plansReadAgainst)
    if (problems.length > 0) {
      void this.#fail(document, problems)
      return
    }
    if (tasks.length === 0) return
    const steps = tasks.map(({ task }) => task)
    const run: PipelineRun = new PipelineRun(document, {
      // A plan stays as it is; what `inputs` ask for may become more.
      planOf: (now) =>
        Array.isArray(document.plan)
          ? { tasks, expected: steps }
          : {
              tasks: readPlan(now, this.#plansReadAgainst).tasks,
              expected: isObject(now.inputs) ? Object.keys(now.inputs) : []
            },
      stopOnFailure: document.stop_on_failure === true,
      store: this.#store,
      owner: this.#owner,
      expertOf: (name) => experts.get(name),
      room: this.#room,
      onRoom: (expert) => this.pump(expert),
      onChange: () => {
        this.#feeds.publishSoon(id, () => {
          return { id, status: 'running', tasks: run.taskStatus, counts: run.counts }
        })
      },
      onEnd: (ended) => void this.#end(ended),
      observer,
      log
    })
    this.#runs.set(id, run)
    run.start()
  }

  /** A plan that another tool broke while the pipeline ran ends it, and the document says why. */
  async #fail({ _key: id }: StoredDocument, problems: readonly PlanProblem[]): Promise<void> {
    const status: PipelineStatus = 'failed'
    const error = problems.map(({ loc, why }) => `${loc.join('.')}: ${why}`).join('; ')
    const fields = { status, error, finished_at: new Date().toISOString() }
    try {
      await this.#store.update(id, { fields }, { status: ['running'] })
      this.#options.log.error({ pipeline: id }, `the plan of a pipeline cannot be read: ${error}`)
    } catch (err) {
      this.#options.log.error({ pipeline: id, err }, 'a broken pipeline cannot be ended yet')
    }
  }

  async #end(run: PipelineRun): Promise<void> {
    await this.#detach(run)
    const document = await this.#store.get(run.id, { movies: false }).catch(() => undefined)
    if (document === undefined) return
    const { status, counts } = document
    this.#options.log.info({ pipeline: run.id, status, counts }, `pipeline ${run.id} is ${status}`)
    this.#feeds.publish(viewProgress(document))
  }

  async #detach(run: PipelineRun): Promise<void> {
    this.#runs.delete(run.id)
    const leaving = run.leave().finally(() => this.#leaving.delete(leaving))
    this.#leaving.add(leaving)
    await leaving
  }

  #poll(): void {
    this.#polling ??= this.#lookForWork()
      .catch((error) => this.#options.log.error({ err: error }, 'pipelines cannot be looked for'))
      .finally(() => {
        this.#polling = null
      })
  }

  async #lookForWork(): Promise<void> {
    for await (const document of this.#listed({ status: 'running' })) this.#attach(document)
    if (!this.#options.runsOthers) return
    for (const { name, isServing } of this.#options.experts.all) {
      if (!isServing) continue
      const unclaimed = { task: name, now: Date.now() }
      for await (const document of this.#listed({ status: null, unclaimed })) {
        await this.#adopt(document)
      }
    }
  }

  async *#listed(query: Omit<PipelineQuery, 'limit' | 'cursor'>): AsyncGenerator<StoredDocument> {
    let cursor: string | undefined
    do {
      const page = await this.#store.list({ ...query, limit: PAGE, cursor })
      yield* page.documents
      cursor = page.next
    } while (cursor !== undefined && !this.#closing.signal.aborted)
  }

  /** Begins a pipeline that another tool wrote, when it has something for an expert of this host. */
  async #adopt(document: StoredDocument): Promise<void> {
    const { _key: id, _rev: rev } = document
    if (this.#closing.signal.aborted || this.#refused.get(id) === rev) return
    const { tasks, problems } = readPlan(document, this.#plansReadAgainst)
    const done = isObject(document.tasks) ? document.tasks : {}
    const open = tasks.filter(({ task }) => done[task] !== 'success' && done[task] !== 'fail')
    if (open.length === 0 && problems.length === 0) return
    try {
      const [problem] = problems
      if (problem !== undefined) throw new Error(`${problem.loc.join('.')}: ${problem.why}`)
      const movies = await this.#moviesOf(document, tasks)
      const isEmpty = Object.keys(movies).length === 0 && !(await this.#hasMovies(id))
      // Another tool's part comes first.
      if (isEmpty || (await this.#begin(document, movies)) === null) return
      const fields = { pipeline: id, tasks: open.map(({ task }) => task) }
      this.#options.log.info(fields, 'a pipeline of another tool is run')
    } catch (error) {
      if (this.#closing.signal.aborted) return
      // Until it is another; what the store could not do is tried again.
      if (problems.length > 0) this.#refused.set(id, rev)
      const fields = { pipeline: id, err: error }
      this.#options.log.error(fields, 'a pipeline of another tool cannot be run')
    }
  }

  async #hasMovies(id: string): Promise<boolean> {
    const movies = (await this.#store.get(id))?.movies
    return isObject(movies) && Object.keys(movies).length > 0
  }

  #withCounts(document: StoredDocument): StoredDocument {
    // Of one that has ended, maybe at another host, the last counts are in it.
    if (document.status !== 'running' && isObject(document.counts)) return document
    const counts = this.#runs.get(document._key)?.counts
    return counts === undefined ? document : { ...document, counts }
  }
}

function viewProgress({ _key, status, tasks, counts }: StoredDocument): PipelineEvent {
  return {
    id: _key,
    status: String(status),
    tasks: isObject(tasks) ? tasks : {},
    counts: isObject(counts) ? (counts as TaskCounts) : {}
  }
}

function unknown(id: string) {
  return hostError('HOST_DOCUMENT_UNKNOWN', [
    `pipelines/${id.replace(/^pipelines\//, '').slice(0, 100)}`
  ])
}
