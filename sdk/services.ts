import type { ExpertLog } from './context.ts'
import type { Movies, Tokens } from './documents.ts'
import type { Media } from './media/media.ts'
import type { Pipelines } from './pipelines.ts'

/** What a host attaches to an expert object before it calls anything of it. */
export interface ExpertServices {
  name: string
  config: Record<string, unknown>
  log: ExpertLog
  media: Media
  movies: Movies
  tokens: Tokens
  pipelines: Pipelines
  /** Told whenever status or tasks change, so that the host's mirror follows. */
  changed(): void
}

// A registered symbol, so that a host and a plugin with another copy of the SDK find the same property.
const servicesKey = Symbol.for('nebula-experts.services')

export function attachServices(expert: object, services: ExpertServices): void {
  Object.defineProperty(expert, servicesKey, { value: services, configurable: true })
}

/** @throws Error when nothing is attached yet: inside the expert's constructor. */
export function servicesOf(expert: object): ExpertServices {
  const services = (expert as Record<symbol, ExpertServices | undefined>)[servicesKey]
  if (services === undefined) {
    throw new Error(
      'config, log, media, movies, tokens and pipelines are there from init() on, not in the constructor'
    )
  }
  return services
}
