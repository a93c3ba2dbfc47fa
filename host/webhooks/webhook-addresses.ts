import {
  type AddressRules,
  allowedHosts,
  checkedAddresses,
  ExpertError,
  type Resolve,
  shownUrl,
  systemResolve
} from '@nebula-experts/sdk/hosting'

/** How long an accepting request waits for a host's name to be looked up, milliseconds. */
const CHECK_MS = 2000

/** Where webhooks may go: the rules that hold for pictures, by `http:` and `https:` alone. */
export class WebhookAddresses {
  readonly #rules: AddressRules

  /**
   * @param allowHosts - `EXPERT_ALLOW_HOSTS`
   * @param resolve - who answers for host names; tests bring their own
   */
  constructor(allowHosts: string[], resolve: Resolve = systemResolve) {
    this.#rules = { isListed: allowedHosts(allowHosts), resolve }
  }

  /**
   * Looks at a URL before a job is accepted with it. A name that cannot be looked up right now is let through: it is
   * looked up again for each try.
   *
   * @returns it as it is kept, and its host and port
   * @throws ExpertError EXP_MEDIA_ADDRESS, EXP_MEDIA_NOT_FOUND when there is no such name
   */
  async check(given: string): Promise<{ url: string; origin: string }> {
    if (!URL.canParse(given)) {
      const message = `${shownUrl(given)} is no URL, wanted http: or https:`
      throw new ExpertError('EXP_MEDIA_ADDRESS', message)
    }
    const url = new URL(given)
    url.hash = ''
    try {
      await checkedAddresses(url, shownUrl(url), this.#rules, AbortSignal.timeout(CHECK_MS))
    } catch (error) {
      const { code, cause } = error as ExpertError
      const why = (cause as NodeJS.ErrnoException | undefined)?.code
      if (code !== 'EXP_MEDIA_NOT_FOUND' || why === 'ENOTFOUND') throw error
    }
    return { url: url.href, origin: url.host }
  }

  /**
   * The addresses that a try may connect to.
   * @throws ExpertError EXP_MEDIA_ADDRESS, EXP_MEDIA_NOT_FOUND, naming no more of the URL than its host
   */
  of(url: URL, signal: AbortSignal): Promise<string[]> {
    return checkedAddresses(url, url.host, this.#rules, signal)
  }
}
