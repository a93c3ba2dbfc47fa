// The recogniser knows Chinese and Latin punctuation, which look alike.
const WIDE = /[\uff01-\uff5e]/g
const WIDE_TO_PLAIN = 0xfee0
const CHINESE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u

/** In a line without Chinese or Japanese signs, makes full-width punctuation the plain one. */
export function plainPunctuation(text: string): string {
  if (CHINESE.test(text)) return text
  return text
    .replace(WIDE, (sign) => String.fromCharCode(sign.charCodeAt(0) - WIDE_TO_PLAIN))
    .replaceAll('\u3000', ' ')
    .replaceAll('\u3002', '.')
    .replaceAll('\u3001', ',')
}
