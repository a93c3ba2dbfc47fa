import type { TokenRecord } from '@nebula-experts/sdk'
import type { Ask } from '@nebula-experts/sdk/hosting'

/** Answers what an expert asks its host for: movies that are there from the start, and tokens that it saves. */
export class MovieStore {
  readonly #movies = new Map<string, Record<string, unknown>>()
  readonly saved: TokenRecord[] = []

  /** @param key - the movie is found under it and under `Movies/<key>` */
  add(key: string, fields: Record<string, unknown>): void {
    this.#movies.set(`Movies/${key}`, { _id: `Movies/${key}`, _key: key, _rev: '1', ...fields })
  }

  readonly ask: Ask = async (what, ...args) => {
    if (what === 'movies.get') {
      const id = String(args[0])
      return this.#movies.get(id.includes('/') ? id : `Movies/${id}`) ?? null
    }
    if (what === 'tokens.save') return this.#save(args[0] as TokenRecord[])
    if (what === 'tokens.saveAnswer')
      return this.#save((args[0] as { result: TokenRecord[] }).result)
    throw new Error(`asked for ${what}`)
  }

  #save(records: TokenRecord[]): string[] {
    this.saved.push(...records)
    return records.map((_, index) => `Tokens/${index}`)
  }
}
