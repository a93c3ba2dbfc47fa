/**
 * Compiles `EXPERT_ALLOW_HOSTS`.
 *
 * An entry is a host name or an address, with or without a port: `files.lan`, `10.0.0.5:9000`,
 * `[fd00::1]:80`, `fd00::1`. It stands for the host as the URL spells it, not for whatever other
 * names lead to the same address.
 *
 * @throws Error for an entry that is no host
 */
export function allowedHosts(entries: string[]): (url: URL) => boolean {
  const allowed = new Set(entries.filter((entry) => entry.trim() !== '').map(parseEntry))
  return (url) => {
    const host = withoutDot(url.hostname)
    return allowed.has(host) || allowed.has(`${host}:${portOf(url)}`)
  }
}

function parseEntry(entry: string): string {
  const text = entry.trim()
  const bareIPv6 = !text.startsWith('[') && text.split(':').length > 2
  const [, host, port] = /^(.+?)(?::(\d{1,5}))?$/.exec(bareIPv6 ? `[${text}]` : text) ?? []
  // The parser of URLs brings the entry to the spelling that it will give the caller's URL.
  const authority = `http://${host}/`
  if (host === undefined || /[/?#@\\\s]/.test(host) || !URL.canParse(authority)) {
    throw new Error(`EXPERT_ALLOW_HOSTS has "${entry}", wanted host or host:port`)
  }
  const name = withoutDot(new URL(authority).hostname)
  return port === undefined ? name : `${name}:${Number(port)}`
}

function withoutDot(host: string): string {
  return host.endsWith('.') ? host.slice(0, -1) : host
}

function portOf(url: URL): string {
  return url.port || (url.protocol === 'https:' ? '443' : '80')
}
