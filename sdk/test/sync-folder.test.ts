import { open } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { syncFolder } from '../media/sync-folder.ts'

const skip = process.platform !== 'linux' && 'needs Linux'

t.test('a folder is synced, or is where none can be', { skip }, async (t) => {
  await syncFolder(t.testdir({}))
  const folder = await open('/proc', 'r')
  await t.rejects(
    folder.sync().finally(() => folder.close()),
    { code: 'EINVAL' },
    'such a place'
  )
  await syncFolder('/proc')
  await t.rejects(syncFolder(join(t.testdirName, 'none')), { code: 'ENOENT' })
})
