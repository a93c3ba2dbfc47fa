import type { DatabaseSync, StatementSync } from '@photostructure/sqlite'

type Driver = typeof import('@photostructure/sqlite')

// Node has SQLite without a flag from 22.13, but only from 22.16 what is used here (`columns`,
// `isTransaction`). Not an import: of a module that is not there, it would be an error.
const builtIn = process.getBuiltinModule('node:sqlite') as Driver | undefined
const driver =
  builtIn !== undefined && 'columns' in builtIn.StatementSync.prototype
    ? builtIn
    : await import('@photostructure/sqlite')

export type Database = InstanceType<typeof DatabaseSync>
export type PreparedStatement = InstanceType<typeof StatementSync>

/**
 * Opens the file with Node's own SQLite, or with the package of the same interface where Node has none.
 *
 * Only the store's thread may import this: Node 22 and 24 warn on stderr that theirs is experimental, and
 * only the thread is started so that it does not.
 *
 * The package, unlike Node, closes the file and frees its lock only when all prepared statements are collected, at the
 * latest when the thread ends.
 */
export function openFile(path: string): Database {
  return new driver.DatabaseSync(path, { enableForeignKeyConstraints: false })
}
