const longest = 200

/** A URL as error messages name it: without user info, at most 200 characters. */
export function shownUrl(url: URL | string): string {
  return cut(withoutUserInfo(url))
}

function withoutUserInfo(url: URL | string): string {
  // A data: URL has no user info, and may be large: not worth a parse.
  if (typeof url === 'string' && /^\s*data:/i.test(url)) return url.slice(0, longest + 1)
  if (!URL.canParse(url.toString())) {
    return String(url).replace(/^(\s*[a-z][a-z0-9+.-]*:)?([\\/]*)[^\\/?#]*@/i, '$1$2')
  }
  const shown = new URL(url)
  shown.username = ''
  shown.password = ''
  return shown.href
}

function cut(text: string): string {
  const printable = text.replace(/\p{Cc}/gu, ' ')
  return printable.length > longest ? `${printable.slice(0, longest - 1)}…` : printable
}
