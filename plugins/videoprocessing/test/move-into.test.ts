import { watch } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { copyInto, moveInto } from '../move-into.ts'

const OTHER_DISK = '/dev/shm'
const otherDisk = await mkdtemp(join(OTHER_DISK, 'nebula-disk-')).catch(() => null)
if (otherDisk !== null) t.teardown(() => rm(otherDisk, { recursive: true, force: true }))
const skip = otherDisk === null && `needs ${OTHER_DISK}`
const bytes = Buffer.alloc(300_000, 'movie')

/** What was named in a folder until now, in order. */
async function watched(t: Test, folder: string) {
  const names: string[] = []
  let told = () => {}
  const watcher = watch(folder, (_event, name) => {
    names.push(String(name))
    told()
  })
  t.teardown(() => watcher.close())
  return async () => {
    // Events come in their order: with the last one all are there.
    const last = new Promise<void>((resolve) => {
      told = () => names.includes('last') && resolve()
    })
    await writeFile(join(folder, 'last'), '')
    await last
    return names.filter((name) => name !== 'last')
  }
}

async function makeFolders(t: Test) {
  const home = await mkdtemp(join(tmpdir(), 'nebula-move-'))
  t.teardown(() => rm(home, { recursive: true, force: true }))
  const [tmp, kept] = [join(home, 'tmp'), join(home, 'kept')]
  for (const folder of [tmp, kept]) await mkdir(folder)
  const source = join(home, 'source.mp4')
  await writeFile(source, bytes)
  return { tmp, kept, source }
}

t.test(
  'to another disk a file is copied once, and needs no room on this one',
  { skip },
  async (t) => {
    const { tmp, source } = await makeFolders(t)
    const kept = await mkdtemp(join(otherDisk as string, 'kept-'))
    const inTmp = await watched(t, tmp)
    const inKept = await watched(t, kept)
    await copyInto(source, join(kept, 'a.mp4'), tmp)
    t.same(await inTmp(), [], 'nothing in the folder of the run')
    const names = await inKept()
    const whole = names.indexOf('a.mp4')
    t.ok(whole > 0)
    t.match(names.slice(0, whole).join(), /^(\.[0-9a-f-]{36}\.part,?)+$/, 'named when it is whole')
    t.same(await readFile(join(kept, 'a.mp4')), bytes)
    t.same((await readdir(kept)).sort(), ['a.mp4', 'last'])
    t.same(await readFile(source), bytes, 'somebody else has it still')
  }
)

t.test('on one disk nothing lies beside the file before it is whole', async (t) => {
  const { tmp, kept, source } = await makeFolders(t)
  const inKept = await watched(t, kept)
  await copyInto(source, join(kept, 'a.mp4'), tmp)
  t.same(new Set(await inKept()), new Set(['a.mp4']))
  t.same(await readFile(join(kept, 'a.mp4')), bytes)
  t.same(await readdir(tmp), [])
  t.same(await readFile(source), bytes)
})

t.test('a folder moves to another disk as a whole', { skip }, async (t) => {
  const { tmp, source } = await makeFolders(t)
  const kept = await mkdtemp(join(otherDisk as string, 'kept-'))
  const frames = join(tmp, 'frames')
  await mkdir(frames)
  for (const name of ['1.jpg', '2.jpg']) await writeFile(join(frames, name), name)
  await moveInto(frames, join(kept, 'run'))
  t.same((await readdir(join(kept, 'run'))).sort(), ['1.jpg', '2.jpg'])
  t.same(await readdir(kept), ['run'])
  t.same(await readdir(tmp), [])
  await t.rejects(copyInto(`${source}.none`, join(kept, 'b.mp4'), tmp), { code: 'ENOENT' })
  t.same(await readdir(kept), ['run'], 'nothing of what was not to be had')
})
