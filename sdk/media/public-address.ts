import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')

// Reached through a public address, but only from inside: it hands out the machine's configuration.
const azureWireServer = '168.63.129.16'

/**
 * True for an address of the public internet; false for every other, and for what is no address.
 *
 * An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4, Teredo) leads to the one it carries,
 * so it is judged by that.
 */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0) return false
  const parsed = ipaddr.parse(address)
  if (parsed instanceof ipaddr.IPv4) return isPublicIPv4(parsed)
  const carried = carriedIPv4(parsed as ipaddr.IPv6)
  if (carried.length > 0) return carried.every(isPublicIPv4)
  // ipaddr.js calls all space without a purpose "unicast", the IPv4-compatible ::127.0.0.1 included.
  return parsed.range() === 'unicast' && (parsed as ipaddr.IPv6).match(globalUnicast)
}

function isPublicIPv4(address: ipaddr.IPv4): boolean {
  return address.range() === 'unicast' && address.toString() !== azureWireServer
}

function carriedIPv4(address: ipaddr.IPv6): ipaddr.IPv4[] {
  const bytes = address.toByteArray()
  const at = (start: number) => new ipaddr.IPv4(bytes.slice(start, start + 4))
  switch (address.range()) {
    case 'ipv4Mapped':
      return [at(12)]
    case 'rfc6052':
      // 64:ff9b:1::/48 is a network's own translator, whose layout only that network knows.
      return bytes[5] === 0 ? [at(12)] : []
    case '6to4':
      return [at(2)]
    case 'teredo': {
      const client = bytes.slice(12).map((byte) => byte ^ 0xff)
      return [at(4), new ipaddr.IPv4(client)]
    }
    default:
      return []
  }
}
