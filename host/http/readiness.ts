import type { Expert } from '../registry/expert.ts'
import type { HostRouteContext } from './route-context.ts'

type Around = Pick<HostRouteContext, 'registry' | 'front' | 'jobStore' | 'documents'>

/**
 * What keeps a prediction sent now from being run; empty when nothing does.
 *
 * @param asked - by this expert; default: by any that is required
 */
export function whyNotReady(around: Around, asked?: Expert): string[] {
  const { registry, front, jobStore, documents } = around
  const reasons: string[] = []
  if (front.isStopping) reasons.push('the host is stopping')
  for (const { failure } of [jobStore, documents]) {
    if (failure !== null) reasons.push(failure.message)
  }
  if (asked !== undefined) return [...reasons, ...whyNotServed(asked)]
  if (!registry.firstRoundEnded) reasons.push('experts are still being started')
  for (const expert of registry.all) if (expert.required) reasons.push(...whyNotServed(expert))
  return reasons
}

function whyNotServed(expert: Expert): string[] {
  if (expert.state === 'ACTIVE') return []
  const why = expert.reason === null ? '' : `: ${expert.reason}`
  return [`${expert.name} is ${expert.state}${why}`]
}
