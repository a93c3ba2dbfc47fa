import { collectDefaultMetrics, Registry } from 'prom-client'

let registry: Registry | null = null

/**
 * What any Node process has, of this one: made for the first host in it and shared by all, since the library never
 * ends what it watches with, the garbage collector and the event loop.
 */
export function processMetrics(): Registry {
  if (registry === null) {
    registry = new Registry()
    collectDefaultMetrics({ register: registry })
  }
  return registry
}
