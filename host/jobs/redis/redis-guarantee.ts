/** What a server says of how it keeps things; undefined where it does not tell. */
export interface RedisSettings {
  appendonly?: string | undefined
  appendfsync?: string | undefined
  save?: string | undefined
  maxmemory?: string | undefined
  'maxmemory-policy'?: string | undefined
}

/** What an accepted job survives, in words, and whether that is less than a user may expect. */
export interface Guarantee {
  text: string
  isWeak: boolean
}

/** What the settings of a server promise to accepted jobs. */
export function guaranteeOf(settings: RedisSettings): Guarantee {
  const kept = keptBy(settings)
  const policy = settings['maxmemory-policy']
  if (policy?.startsWith('allkeys') !== true) return kept
  const now = settings.maxmemory === '0' ? ' once maxmemory is set' : ''
  const text = `${kept.text}; eviction may drop accepted jobs${now} (maxmemory-policy ${policy})`
  return { text, isWeak: true }
}

function keptBy({ appendonly, appendfsync, save }: RedisSettings): Guarantee {
  if (appendonly === undefined) {
    const text = 'what accepted jobs survive is unknown: Redis does not tell its settings'
    return { text, isWeak: true }
  }
  if (appendonly === 'yes') {
    if (appendfsync === 'always') {
      return { text: 'accepted jobs survive a crash of Redis (appendfsync always)', isWeak: false }
    }
    const seconds = appendfsync === 'everysec' ? 'one second' : 'half a minute'
    const text = `a crash of the machine of Redis may lose up to ${seconds} of accepted jobs (appendfsync ${appendfsync})`
    return { text, isWeak: appendfsync !== 'everysec' }
  }
  if (save === undefined || save === '') {
    return { text: 'a restart of Redis loses all jobs (appendonly no, save off)', isWeak: true }
  }
  const text = `a crash of Redis loses what was accepted since its last snapshot (appendonly no, save ${save})`
  return { text, isWeak: true }
}
