import { ExpertError } from '../errors.ts'

/**
 * What is saved needs a name of its own.
 *
 * @param ids - of what is to be saved, in order
 * @param fieldOf - what the request calls the id at a place
 * @throws ExpertError EXP_BAD_INPUT naming the field
 */
export function checkIds(
  ids: ReadonlyArray<string | null | undefined>,
  fieldOf: (place: number) => string
): void {
  const places = new Map<string, number>()
  for (const [place, id] of ids.entries()) {
    if (id === undefined || id === null || id === '') {
      const message = `Field '${fieldOf(place)}' is missing: it says under which name to save`
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    const first = places.get(id)
    if (first !== undefined) {
      const message = `Field '${fieldOf(place)}' is ${JSON.stringify(id.slice(0, 100))}, as '${fieldOf(first)}' is: what is saved needs a name of its own`
      throw new ExpertError('EXP_BAD_INPUT', message)
    }
    places.set(id, place)
  }
}
