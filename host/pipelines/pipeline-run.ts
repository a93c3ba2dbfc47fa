import { setTimeout as pause } from 'node:timers/promises'
import {
  ITEM_LEASE_MS,
  type ItemChange,
  type ItemClaim,
  type ItemCounts,
  type PipelineStore
} from '../documents/pipeline-store.ts'
import type { StoredDocument } from '../documents/stored-document.ts'
import type { ExpertRoom } from '../jobs/expert-room.ts'
import type { PipelineReading } from '../observe/host-readings.ts'
import type { Logger } from '../observe/log.ts'
import type { ItemObserver } from '../observe/observers.ts'
import type { Expert } from '../registry/expert.ts'
import { wireError } from '../runtime/wire-error.ts'
import { conclude, type TaskCounts } from './conclude.ts'
import type { RunnableTask } from './plan.ts'
import { type ItemWork, runItem } from './run-item.ts'

export interface PipelineRunOptions {
  /** What is to be done, as the document has it now. */
  planOf: (document: StoredDocument) => Plan
  stopOnFailure: boolean
  store: PipelineStore
  /** Who claims its items. */
  owner: string
  expertOf: (name: string) => Expert | undefined
  /** Shared by all pipelines of this host. */
  room: ExpertRoom
  /** An expert may have room for more items, of this pipeline or of another. */
  onRoom: (expert: Expert) => void
  /** Something of it changed. */
  onChange: (run: PipelineRun) => void
  /** It is not running any more, or not to be run here. */
  onEnd: (run: PipelineRun) => void
  observer: ItemObserver
  log: Logger
}

export interface Plan {
  /** Each behind those that it depends on. */
  tasks: readonly RunnableTask[]
  /** Every task that must have ended before the pipeline has; those of other tools among them. */
  expected: readonly string[]
}

/** One task on its way: what of it is under way here, and what is known of the rest. */
interface TaskLine {
  step: RunnableTask
  /** Tasks that wait for this one. */
  next: TaskLine[]
  /** Tasks for which this one waits. */
  before: TaskLine[]
  held: Map<string, HeldItem>
  counts: ItemCounts
  /** The last claim found nothing more, and nothing has become ready since. */
  isDry: boolean
  isClaiming: boolean
}

interface HeldItem {
  claim: ItemClaim
  expert: string
  work: ItemWork
}

/** How often document and items are brought together, milliseconds: the document is no more than 5 s behind. */
const RECONCILE_MS = 4000
/** A task that is so many items ahead of one that waits for it waits too. */
const MOST_AHEAD = 1000
const MOST_CHANGES = 500
const WRITE_AGAIN_MS = 500
/** Between two looks that work asks for: at least so long, milliseconds, and ten times as long as the last took. */
const LOOK_AGAIN_MS = 50
const LOOK_SHARE = 10

/**
 * One running pipeline, as far as this host works on it. Every host that shares the store may work on the
 * same one: what belongs to whom is decided by the store alone, and nothing here has to outlive the process.
 */
export class PipelineRun {
  readonly id: string
  /** The document's `tasks` as they were last seen. */
  taskStatus: Record<string, unknown> = {}
  readonly #options: PipelineRunOptions
  readonly #lines = new Map<string, TaskLine>()
  #tasks: readonly RunnableTask[] = []
  readonly #timers = new Set<NodeJS.Timeout>()
  #changes: ItemChange[] = []
  readonly #claims = new Set<Promise<void>>()
  #recording: Promise<void> | null = null
  /** The store did not take the last changes. */
  #isFailing = false
  #looking: Promise<void> | null = null
  #lookAgain = false
  #mayLookAt = 0
  /** Something was claimed or has ended here since the last look. */
  #hasWorked = false
  #renewedAt = Date.now()
  /** An item failed and the others are to be left as they are. */
  #isStopping = false
  /** Nothing is claimed any more. */
  #isOver = false

  /** @param document - as it stands when this host begins to work on it */
  constructor(document: StoredDocument, options: PipelineRunOptions) {
    this.#options = options
    this.id = document._key
    this.#plan(options.planOf(document).tasks)
  }

  /** Takes up tasks that it did not know before. */
  #plan(tasks: readonly RunnableTask[]): void {
    const added = tasks.filter(({ task }) => !this.#lines.has(task))
    if (added.length === 0) return
    this.#tasks = tasks
    for (const step of added) {
      const line = { step, next: [], before: [], held: new Map(), counts: noCounts() }
      this.#lines.set(step.task, { ...line, isDry: true, isClaiming: false })
    }
    for (const line of this.#lines.values()) {
      line.before = line.step.dependsOn.flatMap((task) => this.#lines.get(task) ?? [])
      for (const other of line.before) if (!other.next.includes(line)) other.next.push(line)
    }
  }

  /** How many items of each task are in which state. */
  get counts(): TaskCounts {
    // Between two looks they are reckoned, and what ended during a look was counted twice.
    const shown = (counts: ItemCounts) =>
      Object.fromEntries(
        Object.entries(counts).map(([state, count]) => [state, Math.max(0, count)])
      )
    return Object.fromEntries(
      [...this.#lines].map(([task, { counts }]) => [task, shown(counts) as ItemCounts])
    )
  }

  /** Adds its items to those of other pipelines, by expert. */
  addItems(items: PipelineReading['items']): void {
    for (const { step, counts, held } of this.#lines.values()) {
      const name = this.#options.expertOf(step.expert)?.name ?? step.expert
      const { waiting, running } = items.get(name) ?? { waiting: 0, running: 0 }
      const ready = Math.max(0, counts.ready)
      items.set(name, { waiting: waiting + ready, running: running + held.size })
    }
  }

  /** Begins to work on it. */
  start(): void {
    const ticking = setInterval(() => this.#tick(), RECONCILE_MS)
    this.#timers.add(ticking)
    this.#look()
  }

  /** Claims items that an expert has room for. @returns whether it asked for any */
  pump(expert: Expert): boolean {
    let isClaiming = false
    // What is furthest goes first, so that movies are finished before others are begun.
    for (const line of [...this.#lines.values()].reverse()) {
      if (this.#options.expertOf(line.step.expert) !== expert) continue
      if (this.#claim(line, expert)) isClaiming = true
    }
    return isClaiming
  }

  /** Takes its runs back and works on it no more; resolves when that is written down. */
  async leave(): Promise<void> {
    this.#stopTimers()
    const error = wireError('HOST_CANCELED', [])
    for (const { held } of this.#lines.values()) {
      for (const { work } of held.values()) work.cancel(error)
    }
    await this.close()
  }

  /** Claims nothing more; resolves when what runs has ended and is written down. */
  async close(): Promise<void> {
    this.#stopTimers()
    await Promise.all(this.#claims)
    const held = [...this.#lines.values()].flatMap((line) => [...line.held.values()])
    await Promise.all(held.map(({ work }) => work.change))
    await this.#recording
    await this.#looking
  }

  #stopTimers(): void {
    this.#isOver = true
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  #tick(): void {
    if (Date.now() - this.#renewedAt > ITEM_LEASE_MS / 4) this.#renew()
    this.#look()
  }

  #renew(): void {
    // Later: what is not written piles up.
    if (this.#isFailing) return
    this.#renewedAt = Date.now()
    for (const { held } of this.#lines.values()) {
      for (const { claim } of held.values()) this.#record({ claim, state: 'running' })
    }
  }

  #claim(line: TaskLine, expert: Expert): boolean {
    if (this.#isOver || this.#isStopping || line.isDry || line.isClaiming) return false
    if (!expert.isServing) return false
    if (line.next.some(({ counts, held }) => counts.ready + held.size >= MOST_AHEAD)) {
      this.#lookSoon()
      return false
    }
    const { room, store, owner, log } = this.#options
    // What is claimed ahead could not be left as it is when one before it fails.
    const ahead = this.#options.stopOnFailure
      ? expert.slots - line.held.size
      : Number.POSITIVE_INFINITY
    const limit = Math.min(room.of(expert), ahead)
    if (limit <= 0) return false
    line.isClaiming = true
    // Held from now on, so that other pipelines do not claim for the same room.
    room.take(expert.name, limit)
    const claiming = this.#markActive(line)
      .then(() => store.claim(this.id, line.step.task, { owner, limit }))
      .then(
        (claims) => {
          line.isDry = claims.length < limit
          for (const claim of claims) this.#begin(line, claim, expert)
          room.take(expert.name, claims.length - limit)
          return claims.length > 0
        },
        (error) => {
          room.take(expert.name, -limit)
          log.error({ pipeline: this.id, err: error }, 'items of a pipeline cannot be claimed')
          // Until the next look.
          line.isDry = true
          return false
        }
      )
      .then((isBegun) => {
        line.isClaiming = false
        if (isBegun) this.#options.onChange(this)
        if (line.isDry) this.#lookWhenIdle()
        this.#options.onRoom(expert)
        this.#claims.delete(claiming)
      })
    this.#claims.add(claiming)
    return true
  }

  /** The document says that a task has begun before anything of it has. */
  async #markActive({ step: { task } }: TaskLine): Promise<void> {
    if (new Map(Object.entries(this.taskStatus)).get(task) === 'active') return
    const active = Object.fromEntries([[task, 'active']])
    await this.#options.store.update(this.id, { tasks: active }, { status: ['running'] })
    this.taskStatus = { ...this.taskStatus, ...active }
  }

  #begin(line: TaskLine, claim: ItemClaim, expert: Expert): void {
    line.counts.ready = Math.max(0, line.counts.ready - 1)
    line.counts.running += 1
    const work = runItem(claim, line.step, expert)
    line.held.set(claim.token, { claim, expert: expert.name, work })
    this.#hasWorked = true
    if (this.#isOver) work.cancel(wireError('HOST_CANCELED', []))
    void work.change.then((change) => this.#record(change))
  }

  #record(change: ItemChange): void {
    this.#changes.push(change)
    if (change.state === 'fail' && this.#options.stopOnFailure) this.#isStopping = true
    this.#recording ??= this.#writeChanges()
  }

  /** Writes what has ended, many together; a store that does not answer is asked again. */
  async #writeChanges(): Promise<void> {
    const { store, log } = this.#options
    // In the next turn, so that what ends in this one is written together.
    await new Promise(setImmediate)
    while (this.#changes.length > 0) {
      const changes = this.#changes.splice(0, MOST_CHANGES)
      try {
        const taken = await store.record(changes, this.#tasks)
        this.#isFailing = false
        for (const [index, change] of changes.entries()) this.#settle(change, taken[index] === true)
      } catch (error) {
        log.error({ pipeline: this.id, err: error }, 'ends of items cannot be written yet')
        this.#isFailing = true
        this.#changes.unshift(...changes)
        await pause(WRITE_AGAIN_MS)
        if (!this.#isOver) continue
        // The claims run out, and another host or this one's next life has the items again.
        for (const change of this.#changes.splice(0)) this.#settle(change, false)
      }
    }
    this.#recording = null
  }

  #settle(change: ItemChange, isTaken: boolean): void {
    const { claim, state } = change
    const line = this.#lines.get(claim.task)
    const held = line?.held.get(claim.token)
    if (line === undefined || held === undefined) return
    if (state === 'running') {
      if (!isTaken) held.work.cancel(wireError('HOST_CANCELED', []))
      return
    }
    line.held.delete(claim.token)
    this.#hasWorked = true
    this.#options.room.giveBack(held.expert)
    line.counts.running -= 1
    if (isTaken) {
      line.counts[state] += 1
      if (state !== 'ready') this.#options.observer.itemEnded(held.expert, state)
      if (state === 'ready') this.#waitFor(line, change.notBefore)
      else this.#openNext(line, state)
    } else {
      const fields = { pipeline: this.id, task: claim.task, movie: claim.movie }
      this.#options.log.warn(fields, 'a late end is not taken: the claim was lost')
    }
    this.#options.onChange(this)
    this.#pumpAround([line])
    this.#lookWhenIdle()
  }

  #openNext(line: TaskLine, state: ItemChange['state']): void {
    for (const next of line.next) {
      next.isDry = false
      // Of those with more dependencies only the store knows.
      if (next.step.dependsOn.length > 1) continue
      next.counts.blocked = Math.max(0, next.counts.blocked - 1)
      next.counts[state === 'success' ? 'ready' : 'skipped'] += 1
    }
  }

  #waitFor(line: TaskLine, notBefore: number | null): void {
    if (this.#isOver) return
    const wait = Math.max(0, (notBefore ?? 0) - Date.now())
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      line.isDry = false
      this.#pumpAround([line])
    }, wait)
    this.#timers.add(timer)
  }

  /** Those of tasks, of what they have let go on, and of what may go on as they are less behind. */
  #pumpAround(lines: readonly TaskLine[]): void {
    const around = lines.flatMap((line) => [line, ...line.next, ...line.before])
    const experts = new Set(around.map(({ step }) => this.#options.expertOf(step.expert)))
    for (const expert of experts) if (expert !== undefined) this.#options.onRoom(expert)
  }

  /** When nothing is under way here any more, only the store can say whether that was all. */
  #lookWhenIdle(): void {
    const isIdle = [...this.#lines.values()].every(
      (line) => line.held.size === 0 && !line.isClaiming && (line.isDry || this.#isStopping)
    )
    if (isIdle && this.#hasWorked && this.#changes.length === 0) this.#lookSoon()
  }

  #lookSoon(): void {
    if (this.#isOver) return
    const wait = this.#mayLookAt - performance.now()
    if (wait <= 0) {
      this.#look()
      return
    }
    if (this.#lookAgain) return
    this.#lookAgain = true
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#lookAgain = false
      this.#look()
    }, wait)
    this.#timers.add(timer)
  }

  #look(): void {
    if (this.#looking !== null || this.#isOver) return
    const began = performance.now()
    this.#hasWorked = false
    this.#looking = this.#lookAtAll()
      .catch((error) => {
        this.#options.log.error({ pipeline: this.id, err: error }, 'a pipeline cannot be looked at')
      })
      .finally(() => {
        this.#looking = null
        const now = performance.now()
        this.#mayLookAt = now + Math.max(LOOK_AGAIN_MS, LOOK_SHARE * (now - began))
        // What ended meanwhile could not ask.
        this.#lookWhenIdle()
      })
  }

  /** Sees how far everything is, says so in the document, and goes on or ends it. */
  async #lookAtAll(): Promise<void> {
    const { store, planOf } = this.#options
    const tasks = this.#tasks
    const counts = await store.reconcile(this.id, tasks)
    const document = await store.get(this.id, { movies: false })
    if (counts === undefined || document === undefined || document.status !== 'running') {
      this.#options.onEnd(this)
      return
    }
    const plan = planOf(document)
    this.#plan(plan.tasks)
    // Of what was not known when it was asked for, nothing is known yet.
    if (this.#tasks !== tasks) return this.#lookAtAll()
    for (const [task, line] of this.#lines) {
      line.counts = counts[task] ?? noCounts()
      if (line.counts.ready + line.counts.running > 0) line.isDry = false
      if (line.counts.fail > 0 && this.#options.stopOnFailure) this.#isStopping = true
    }
    const isEnded = await this.#conclude(document, plan.expected)
    this.#options.onChange(this)
    if (isEnded) this.#options.onEnd(this)
    else this.#pumpAround([...this.#lines.values()])
  }

  /** @returns whether the pipeline has ended */
  async #conclude(document: StoredDocument, expected: readonly string[]): Promise<boolean> {
    const { store } = this.#options
    const { counts } = this
    const isStopping = this.#isStopping
    const tasks = this.#tasks
    const { taskStatus, end } = conclude({ document, tasks, expected, counts, isStopping })
    this.taskStatus = taskStatus
    if (end === null) {
      const changed = Object.entries(taskStatus).filter(
        ([task, status]) =>
          (document.tasks as Record<string, unknown> | undefined)?.[task] !== status
      )
      if (changed.length > 0) await store.update(this.id, { tasks: Object.fromEntries(changed) })
      return false
    }
    const fields = { status: end, finished_at: new Date().toISOString(), counts }
    await store.update(this.id, { fields, tasks: taskStatus }, { status: ['running'] })
    return true
  }
}

function noCounts(): ItemCounts {
  return { blocked: 0, ready: 0, running: 0, success: 0, fail: 0, skipped: 0 }
}
