import type { ImageToken, TokenRecord } from '@nebula-experts/sdk'
import { chooseKey } from '../choose-key.ts'
import { inGroups } from '../in-groups.ts'
import { mergeDocuments } from '../merge-documents.ts'
import { pageOf, pageStart } from '../page.ts'
import { collectionNames } from '../stored-document.ts'
import { type PlannedDocument, planImageTokens, planTokens } from '../token-documents.ts'
import { tokenFilter } from '../token-query.ts'
import type { TokenQuery, TokenStore } from '../token-store.ts'
import type { DocumentChange, SqliteDocuments } from './sqlite-documents.ts'

/** Tokens in an SQLite file. */
export class SqliteTokens implements TokenStore {
  readonly #documents: SqliteDocuments

  constructor(documents: SqliteDocuments) {
    this.#documents = documents
  }

  async save(entries: readonly TokenRecord[]): Promise<string[]> {
    return this.#save(collectionNames.tokens, await planTokens(entries))
  }

  async saveImages(entries: readonly ImageToken[]): Promise<string[]> {
    return this.#save(collectionNames.imageTokens, await planImageTokens(entries))
  }

  async list(query: TokenQuery) {
    const { imagePrefix, ...equal } = tokenFilter(query)
    const { collection } = query
    const { after, count } = pageStart(query)
    const asked = { collection, equal, imagePrefix, after, limit: count }
    return pageOf(await this.#documents.find(asked), query)
  }

  async revision(collection: TokenQuery['collection']): Promise<string> {
    return this.#documents.revision(collection)
  }

  async #save(collection: string, planned: readonly PlannedDocument[]): Promise<string[]> {
    const ids: string[] = []
    for (const group of inGroups(planned)) {
      const written = await this.#documents.write(
        ...group.map((token) => changeFor(collection, token))
      )
      for (const document of written) ids.push(`${collection}/${document?.key}`)
    }
    return ids
  }
}

function changeFor(collection: string, token: PlannedDocument): DocumentChange {
  return {
    collection,
    keys: token.keys,
    decide: (stored) => {
      const { key, own } = chooseKey(token, stored)
      const fields = own === undefined ? token.fields : mergeDocuments(own, token.fields)
      return { key, fields }
    }
  }
}
