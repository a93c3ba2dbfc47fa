import type { Test } from 'tap'
import type { DocumentStores } from '../../documents/document-stores.ts'
import type {
  ItemChange,
  ItemClaim,
  ItemCounts,
  ItemEndState,
  ItemQuery,
  PlannedTask
} from '../../documents/pipeline-store.ts'
import type { DocumentFields } from '../../documents/stored-document.ts'
import { oddTexts } from '../movie-store-contract.ts'

/** Gives empty stores, whose leases go by `now`. */
export type OpenStores = (options: { now: () => number }) => Promise<DocumentStores>

export const ONE: PlannedTask[] = [{ task: 'a', dependsOn: [] }]
export const CHAIN: PlannedTask[] = [
  { task: 'a', dependsOn: [] },
  { task: 'b', dependsOn: ['a'] },
  { task: 'c', dependsOn: ['b'] }
]
export const DIAMOND: PlannedTask[] = [
  { task: 'a', dependsOn: [] },
  { task: 'b', dependsOn: ['a'] },
  { task: 'c', dependsOn: ['a'] },
  { task: 'd', dependsOn: ['b', 'c'] }
]
export const RAN = { expert: 'e', expert_version: '1.0.0', model_sha256: null, extra_params: null }
export const INVALID = { code: 'HOST_DOCUMENT_INVALID', statusCode: 422 }
/** Names of tasks that are data, however they look. */
export const ODD_NAMES = [
  ...oddTexts,
  '__proto__',
  'constructor',
  'a.b',
  '$.a',
  '0',
  'x'.repeat(300)
]

export type Movies = Record<string, DocumentFields & { status: DocumentFields }>

export async function prepare(t: Test, open: OpenStores) {
  const clock = { now: 1_700_000_000_000 }
  const stores = await open({ now: () => clock.now })
  t.teardown(() => stores.close())
  const { pipelines } = stores
  const moviesOf = async (id = 'p') => (await pipelines.get(id))?.['movies'] as Movies
  return {
    pipelines,
    clock,
    moviesOf,
    claim: (task = 'a', limit = 1000, owner = 'host') =>
      pipelines.claim('p', task, { owner, limit }),
    /** Claims the item of one movie; those of others that were claimed too are put back. */
    claimOne: async (movie: string, task = 'a') => {
      const claims = await pipelines.claim('p', task, { owner: 'host', limit: 1000 })
      const others = claims.filter((claim) => claim.movie !== movie)
      const putBack = others.map((claim) => ({ ...back(claim), attempts: claim.attempts - 1 }))
      await pipelines.record(putBack, [])
      return claims.find((claim) => claim.movie === movie) as ItemClaim
    },
    statusOf: async (movie: string) => (await moviesOf())[movie]?.status,
    itemsOf: async (query: Partial<ItemQuery> = {}) => {
      const { items } = await pipelines.items({ pipeline: 'p', limit: 10_000, ...query })
      return items
    }
  }
}

export function ended(claim: ItemClaim, state: ItemEndState = 'success'): ItemChange {
  const error = state === 'fail' ? 'no reason' : null
  return { claim, state, error, startedAt: 1000, finishedAt: 2500, ran: RAN }
}

export function back(claim: ItemClaim, notBefore: number | null = null) {
  return { claim, state: 'ready' as const, notBefore, attempts: claim.attempts }
}

export function counts(some: Partial<ItemCounts>): ItemCounts {
  return { blocked: 0, ready: 0, running: 0, success: 0, fail: 0, skipped: 0, ...some }
}

export function moviesIn(claims: ReadonlyArray<{ movie: string }>): string[] {
  return claims.map(({ movie }) => movie)
}

/** `Movies/0`, `Movies/1`, …: their order as texts is another from the tenth on. */
export function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, place) => `Movies/${place}`)
}
