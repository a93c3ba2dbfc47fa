import { insert, remove, restore, update } from './documents.js'
import { Refusal } from './errors.js'

/**
 * What one statement reads and writes: all of it or nothing, and no collection is read after the statement
 * has changed it.
 */
export class Transaction {
  #database
  #hasConflict
  #changed = new Set()
  #undo = []

  constructor(database, { hasConflict }) {
    this.#database = database
    this.#hasConflict = hasConflict
  }

  /** A collection to read from. */
  read(name) {
    if (this.#changed.has(name)) throw new Refusal('afterModification', name)
    return this.#collection(name)
  }

  insert(name, document, how) {
    const collection = this.#write(name, document._key)
    return insert(collection, document, { keepNull: true, mergeObjects: true, ...how }).document
  }

  update(name, { _key, _rev }, patch, how) {
    const { _id: _i, _key: _k, _rev: _r, ...fields } = patch
    return update(this.#write(name, _key), { ...fields, _key, _rev }, how).document
  }

  remove(name, { _key, _rev }, how) {
    return remove(this.#write(name, _key), { _key, _rev }, how)
  }

  /** Nothing of it was done. */
  rollBack() {
    for (const undo of this.#undo.reverse()) undo()
  }

  #write(name, key) {
    const collection = this.#collection(name)
    this.#changed.add(name)
    if (this.#hasConflict) throw new Refusal('conflict', 'write-write conflict')
    const before = collection.documents.get(key)
    this.#undo.push(() => restore(collection, key, before))
    return collection
  }

  #collection(name) {
    const collection = this.#database.get(name)
    if (collection === undefined) throw new Refusal('collectionNotFound', name)
    return collection
  }
}
