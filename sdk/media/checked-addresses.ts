import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { ExpertError } from '../errors.ts'
import { orAborted } from './deadline.ts'
import { isPublicAddress } from './public-address.ts'

/** Gives all addresses of a host name. */
export type Resolve = (host: string) => Promise<string[]>

export interface AddressRules {
  /** Whether the operator lists the host of this URL. */
  isListed(url: URL): boolean
  resolve: Resolve
}

/** Asks as every program of the machine does, `/etc/hosts` included. */
export const systemResolve: Resolve = async (host) => {
  const found = await lookup(host, { all: true })
  return found.map(({ address }) => address)
}

/**
 * The addresses to which a connection for this URL may be made: one look-up, every answer checked.
 *
 * @param name - the URL as messages name it
 * @throws ExpertError EXP_MEDIA_ADDRESS, EXP_MEDIA_NOT_FOUND when the name is not known
 */
export async function checkedAddresses(
  url: URL,
  name: string,
  rules: AddressRules,
  signal: AbortSignal
): Promise<string[]> {
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw refused(name, `its scheme is ${url.protocol}, wanted http: or https:`)
  }
  if (url.username !== '' || url.password !== '') {
    throw refused(name, 'it has a user name or password, wanted none')
  }
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const addresses = isIP(host) === 0 ? await resolveHost(host, name, rules, signal) : [host]
  if (!rules.isListed(url) && !addresses.every(isPublicAddress)) {
    // The address stays unsaid: it would tell the caller how the inner network is laid out.
    const wanted = 'wanted a public one, or a host that EXPERT_ALLOW_HOSTS lists'
    throw refused(name, `the address of its host is not public, ${wanted}`)
  }
  return addresses
}

async function resolveHost(
  host: string,
  name: string,
  rules: AddressRules,
  signal: AbortSignal
): Promise<string[]> {
  const addresses = await orAborted(rules.resolve(host), signal).catch((cause) => {
    const found = (cause as NodeJS.ErrnoException).code ?? 'no answer'
    const message = `${name}: the address of its host cannot be found (${found})`
    throw new ExpertError('EXP_MEDIA_NOT_FOUND', message, { cause })
  })
  if (addresses.length === 0) {
    throw new ExpertError('EXP_MEDIA_NOT_FOUND', `${name}: its host has no address`)
  }
  return addresses
}

function refused(name: string, why: string): ExpertError {
  return new ExpertError('EXP_MEDIA_ADDRESS', `${name} is refused: ${why}`)
}
