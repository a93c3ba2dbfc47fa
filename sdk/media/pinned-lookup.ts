import { isIP, type LookupFunction } from 'node:net'

/**
 * Makes a connector use these addresses: its own look-up could give another answer than the one that was
 * checked.
 *
 * @param addresses - at least one
 */
export function pinnedLookup(addresses: string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIP(address) }))
  return (_host, options, callback) => {
    if (options.all) callback(null, all)
    else callback(null, all[0]!.address, all[0]!.family)
  }
}
