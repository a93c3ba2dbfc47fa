import type { StoredDocument } from '@nebula-experts/sdk'

/** Keeps movies as a host does, as far as this expert asks: whole documents by `_id`. */
export function movieShelf() {
  const movies = new Map<string, StoredDocument>()
  return {
    movies,
    ask: async (what: string, given: unknown): Promise<unknown> => {
      if (what === 'movies.get') {
        const id = String(given)
        return movies.get(id.includes('/') ? id : `Movies/${id}`) ?? null
      }
      if (what === 'movies.save') {
        const { _key } = given as { _key: string }
        const id = `Movies/${_key}`
        const _rev = String(Number(movies.get(id)?._rev ?? 0) + 1)
        const saved = { ...movies.get(id), ...(given as object), _id: id, _key, _rev }
        movies.set(id, saved)
        return saved
      }
      throw new Error(`it is not asked for ${what}`)
    }
  }
}
