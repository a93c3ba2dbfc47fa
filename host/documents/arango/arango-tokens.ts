import type { ImageToken, TokenRecord } from '@nebula-experts/sdk'
import { chooseKey } from '../choose-key.ts'
import { inGroups } from '../in-groups.ts'
import { pageOf, pageStart } from '../page.ts'
import { collectionNames, type DocumentFields, type StoredDocument } from '../stored-document.ts'
import { type PlannedDocument, planImageTokens, planTokens } from '../token-documents.ts'
import { tokenFilter } from '../token-query.ts'
import type { TokenQuery, TokenStore } from '../token-store.ts'
import { type ArangoDocuments, arangoErrors, type Outcome, refusal } from './arango-documents.ts'
import { listing } from './arango-statements.ts'

/** Tokens in ArangoDB. */
export class ArangoTokens implements TokenStore {
  readonly #documents: ArangoDocuments

  constructor(documents: ArangoDocuments) {
    this.#documents = documents
  }

  async save(entries: readonly TokenRecord[]): Promise<string[]> {
    return this.#save(collectionNames.tokens, await planTokens(entries))
  }

  async saveImages(entries: readonly ImageToken[]): Promise<string[]> {
    return this.#save(collectionNames.imageTokens, await planImageTokens(entries))
  }

  async list(query: TokenQuery) {
    const statement = listing(query.collection, { ...tokenFilter(query) }, pageStart(query))
    return pageOf(await this.#documents.query<StoredDocument>(statement), query)
  }

  async revision(collection: TokenQuery['collection']): Promise<string> {
    return this.#documents.revision(collection)
  }

  async #save(collection: string, planned: readonly PlannedDocument[]): Promise<string[]> {
    const ids: string[] = []
    for (const group of inGroups(planned)) {
      for (const key of await this.#saveGroup(collection, group)) ids.push(`${collection}/${key}`)
    }
    return ids
  }

  /** Writes what it can, and looks again where another was faster; gives the keys in the group's order. */
  async #saveGroup(collection: string, group: readonly PlannedDocument[]): Promise<string[]> {
    const keys = new Map<PlannedDocument, string>()
    let left = group
    return this.#documents.insist(async () => {
      for (const [token, key] of await this.#tryGroup(collection, left)) keys.set(token, key)
      left = group.filter((token) => !keys.has(token))
      return left.length === 0 ? group.map((token) => keys.get(token) as string) : undefined
    })
  }

  /**
   * Adds what is new and merges into what is this token's, each under the condition that it still is: an
   * insert fails when the key was taken meanwhile, a merge when the document is another by now. So both
   * can be repeated too.
   */
  async #tryGroup(
    collection: string,
    group: readonly PlannedDocument[]
  ): Promise<Array<[PlannedDocument, string]>> {
    const known = new Map<string, DocumentFields>(
      await this.#documents.lookUp(collection, [...new Set(group.flatMap(({ keys }) => keys))])
    )
    const added: Chosen[] = []
    const merged: Chosen[] = []
    for (const token of group) {
      const { key: _key, own } = chooseKey(token, (key) => known.get(key))
      if (own === undefined) added.push({ token, document: { ...token.fields, _key } })
      else merged.push({ token, document: { ...token.fields, _key, _rev: own['_rev'] } })
      known.set(_key, token.fields)
    }
    const [afterInsert, afterMerge] = await Promise.all([
      inTurn(added, (documents) =>
        this.#documents.insert(collection, documents, { isRepeatable: true })
      ),
      inTurn(merged, (documents) => this.#documents.merge(collection, documents))
    ])
    return [...afterInsert, ...afterMerge]
  }
}

interface Chosen {
  token: PlannedDocument
  document: DocumentFields & { _key: string }
}

/** Those that were written, with their keys; the others must look again. */
async function inTurn(
  chosen: readonly Chosen[],
  write: (documents: Array<Chosen['document']>) => Promise<Outcome[]>
): Promise<Array<[PlannedDocument, string]>> {
  if (chosen.length === 0) return []
  const outcomes = await write(chosen.map(({ document }) => document))
  return chosen.flatMap(({ token, document }, place): Array<[PlannedDocument, string]> => {
    const outcome = outcomes[place]
    if (outcome?.errorNum === null) return [[token, document._key]]
    const { conflict, unique, notFound } = arangoErrors
    if (
      outcome !== undefined &&
      ![conflict, unique, notFound].includes(outcome.errorNum as never)
    ) {
      throw refusal(outcome)
    }
    return []
  })
}
