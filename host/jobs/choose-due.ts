import type { WebhookClaim } from './webhook-outbox.ts'

/** Of what is due those that a claim takes: at most one of a job, and no more of an origin than it has room for. */
export function chooseDue<T extends { jobId: string; origin: string }>(
  due: Iterable<T>,
  { limit, roomOf }: Pick<WebhookClaim, 'limit' | 'roomOf'>
): T[] {
  const rooms = new Map<string, number>()
  const jobs = new Set<string>()
  const chosen: T[] = []
  for (const one of due) {
    if (chosen.length >= limit) break
    const room = rooms.get(one.origin) ?? roomOf(one.origin)
    rooms.set(one.origin, room)
    if (room <= 0 || jobs.has(one.jobId)) continue
    rooms.set(one.origin, room - 1)
    jobs.add(one.jobId)
    chosen.push(one)
  }
  return chosen
}
