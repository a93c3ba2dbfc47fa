import { within } from '../jobs/within.ts'
import type { ExpertReading, HostReadings, ProcessReading } from '../observe/host-readings.ts'
import type { Expert } from '../registry/expert.ts'
import { cpuSecondsOf } from '../registry/process-cpu.ts'
import { memoryOf } from '../registry/process-memory.ts'
import type { ExpertInstance } from '../runtime/expert-instance.ts'
import { whyNotReady } from './readiness.ts'
import type { HostRouteContext } from './route-context.ts'

/** How long a store may take to say what waits in it, milliseconds. */
const STORE_MS = 1000

/** Reads how a host stands now. Never rejects: what a store does not tell in time is left out. */
export async function readHost(context: HostRouteContext): Promise<HostReadings> {
  const { registry, jobs, jobStore, documents, pipelines } = context
  const [waiting, webhooks] = await Promise.all([
    toldInTime(() => jobs.waiting()),
    toldInTime(() => jobStore.outbox.waiting())
  ])
  // Of two that want one name, one is never addressed.
  const named = registry.all.filter((expert) => registry.get(expert.name) === expert)
  return {
    isReady: whyNotReady(context).length === 0,
    stores: {
      // A server may keep its connections and answer nothing.
      jobs: jobStore.failure === null && waiting !== null && webhooks !== null,
      documents: documents.failure === null
    },
    experts: named.filter(({ state }) => state !== 'STOPPED').map(readExpert),
    jobs: { waiting, running: jobs.claimed },
    pipelines: pipelines.underWay,
    webhooks
  }
}

async function toldInTime<T>(ask: () => Promise<T>): Promise<T | null> {
  return within(ask(), STORE_MS).catch(() => null)
}

function readExpert(expert: Expert): ExpertReading {
  const { name, version, state, slots, running, waiting, maxQueueSize } = expert
  // One that runs inline has no process of its own.
  const processes = expert.processes.filter(({ pid }) => pid !== process.pid)
  return {
    ...{ name, version, state, slots, running, waiting, maxQueueSize },
    instances: expert.instances.length,
    processes: processes.map(readProcess)
  }
}

function readProcess({ pid, startedAt }: ExpertInstance): ProcessReading {
  return { id: `${pid} ${startedAt}`, memoryBytes: memoryOf(pid), cpuSeconds: cpuSecondsOf(pid) }
}
