// What the indexes of `pipeline_items` give: items of a pipeline in a state, in the order of their places,
// and those with a flag. Only so that a benchmark of the host is none of the double.

export class PlacedItems {
  /** By pipeline and state, and by pipeline alone: lists in the order of the places. */
  #lists = new Map()
  #flagged = new Map()

  add(document) {
    for (const name of namesOf(document)) {
      const list = this.#lists.get(name) ?? []
      this.#lists.set(name, list)
      list.splice(at(list, document), 0, document)
    }
    if (document.unfolded !== true) return
    const flagged = this.#flagged.get(document.pipeline) ?? new Map()
    this.#flagged.set(document.pipeline, flagged.set(document._key, document))
  }

  remove(document) {
    for (const name of namesOf(document)) {
      const list = this.#lists.get(name)
      list.splice(at(list, document), 1)
    }
    this.#flagged.get(document.pipeline)?.delete(document._key)
  }

  /** Those of a pipeline, of one state when that is given, behind the place `after` and before `to`. */
  between(pipeline, state, { after, to } = {}) {
    const list = this.#lists.get(JSON.stringify([pipeline, state])) ?? []
    const behind = after === undefined ? 0 : at(list, { place: after, _key: '\uffff' })
    const end = to === undefined ? list.length : at(list, { place: to, _key: '' })
    return { list, behind, end }
  }

  flagged(pipeline) {
    return [...(this.#flagged.get(pipeline)?.values() ?? [])]
  }
}

function namesOf({ pipeline, state }) {
  if (typeof pipeline !== 'string' || typeof state !== 'string') return []
  return [JSON.stringify([pipeline, state]), JSON.stringify([pipeline, undefined])]
}

/** Where a document is in a list, or would be. */
function at(list, document) {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (compare(list[middle], document) < 0) low = middle + 1
    else high = middle
  }
  return low
}

function compare(a, b) {
  const [one, two] = [a.place ?? '', b.place ?? '']
  if (one !== two) return one < two ? -1 : 1
  return a._key < b._key ? -1 : a._key > b._key ? 1 : 0
}
