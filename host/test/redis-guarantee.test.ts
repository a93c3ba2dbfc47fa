import t from 'tap'
import { guaranteeOf, type RedisSettings } from '../jobs/redis/redis-guarantee.ts'

t.test('what the settings of a server promise is said in words', async (t) => {
  const aof = { appendonly: 'yes', save: '', maxmemory: '0', 'maxmemory-policy': 'noeviction' }
  const rows: Array<[settings: RedisSettings, text: RegExp, isWeak: boolean]> = [
    [{ ...aof, appendfsync: 'always' }, /survive a crash of Redis \(appendfsync always\)$/, false],
    [{ ...aof, appendfsync: 'everysec' }, /may lose up to one second of accepted jobs/, false],
    [{ ...aof, appendfsync: 'no' }, /may lose up to half a minute/, true],
    [{ ...aof, appendonly: 'no' }, /a restart of Redis loses all jobs/, true],
    [{ ...aof, appendonly: 'no', save: '3600 1' }, /since its last snapshot .*save 3600 1/, true],
    [{}, /unknown: Redis does not tell/, true],
    [
      { ...aof, appendfsync: 'always', maxmemory: '5', 'maxmemory-policy': 'allkeys-lru' },
      /survive a crash.*eviction may drop accepted jobs \(maxmemory-policy allkeys-lru\)/,
      true
    ],
    [
      { ...aof, appendfsync: 'always', maxmemory: '5', 'maxmemory-policy': 'volatile-lru' },
      /always\)$/,
      false
    ]
  ]
  for (const [settings, text, isWeak] of rows) {
    const guarantee = guaranteeOf(settings)
    t.match(guarantee.text, text)
    t.equal(guarantee.isWeak, isWeak, guarantee.text)
  }
})
