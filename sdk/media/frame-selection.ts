import { ExpertError } from '../errors.ts'
import type { FrameOptions } from './media.ts'

/** A frame on its way out of the decoder; `second` is NaN when the file has no times. */
export interface DecodedFrame {
  number: number
  second: number
}

/** Which frames of a video are wanted. */
export interface FrameSelection {
  /** For ffmpeg's filter `select`: true for every wanted frame, and perhaps for others. */
  expression: string
  /** How many frames pass `expression`, when that is known; null when not. */
  passing: number | null
  /** Whether a frame that `expression` let pass is wanted. `before`: the second of the frame before it, or null. */
  wants(frame: DecodedFrame, before: number | null): boolean
  /** Whether nothing after this frame can be wanted. */
  isLast(frame: DecodedFrame): boolean
  /** What lies beyond a video of that many frames, the last of which is shown at that second; for messages. */
  beyond(count: number, lastSecond: number): string | null
  /** The seconds after the last frame's, ascending, that may still mean it. */
  after(lastSecond: number): number[]
}

/** Half a millisecond: what containers that count in milliseconds are off by. */
const tolerance = 0.0005

/** A list that is longer would not fit into an argument of a process. */
const longestList = 2000

/**
 * Checks the options that choose frames.
 *
 * @param tailFromS - frames from here on may be the last one: they pass when a wanted second lies as late
 * @throws ExpertError EXP_BAD_INPUT
 */
export function selectFrames(options: FrameOptions, tailFromS: number): FrameSelection {
  const given = (['numbers', 'seconds', 'everyS', 'every'] as const).filter(
    (key) => options[key] !== undefined
  )
  if (given.length > 1) {
    throw bad(`frames are chosen by ${given.join(' and ')}, wanted at most one of them`)
  }
  const { numbers, seconds, everyS, every } = options
  if (numbers !== undefined) return byNumbers(ascending(numbers, 'numbers', Number.isSafeInteger))
  if (seconds !== undefined) {
    return bySeconds(ascending(seconds, 'seconds', Number.isFinite), tailFromS)
  }
  if (everyS !== undefined) return byInterval(everyS)
  if (every === undefined) return { ...unbounded, expression: '1', wants: () => true }
  if (!Number.isSafeInteger(every) || every < 1) {
    throw bad(`'every' is ${every}, wanted a whole number of at least 1`)
  }
  const wants = ({ number }: DecodedFrame) => number % every === 0
  return { ...unbounded, expression: `not(mod(n,${every}))`, wants }
}

const unbounded = { passing: null, isLast: () => false, beyond: () => null, after: () => [] }

function byNumbers(numbers: number[]): FrameSelection {
  const wanted = new Set(numbers)
  const last = numbers.at(-1) ?? -1
  const ranges: Array<[number, number]> = []
  for (const number of numbers) {
    const range = ranges.at(-1)
    if (range?.[1] === number - 1) range[1] = number
    else ranges.push([number, number])
  }
  const all: [number, number] = [numbers[0] ?? 0, last]
  const isLong = ranges.length > longestList
  return {
    expression: within('n', isLong ? [all] : ranges),
    passing: isLong ? null : numbers.length,
    wants: ({ number }) => wanted.has(number),
    isLast: ({ number }) => number >= last,
    beyond: (count) => {
      const missing = numbers.find((number) => number >= count)
      return missing === undefined ? null : `frame ${missing}`
    },
    after: () => []
  }
}

function bySeconds(seconds: number[], tailFromS: number): FrameSelection {
  // The same numbers go to ffmpeg, digit by digit, so that both sides compare alike.
  const from = seconds.map((second) => second - tolerance)
  const last = from.at(-1) ?? -1
  const reached = (second: number) => countUpTo(from, second)
  const changes = `gt(${step(from)('t')},if(isnan(prev_t),0,${step(from)('prev_t')}))`
  const some = from.length > longestList / 2 ? `gte(t,${from[0]})` : changes
  return {
    passing: null,
    expression: last >= tailFromS ? `${some}+gte(t,${tailFromS})` : some,
    wants: ({ second }, before) => reached(second) > (before === null ? 0 : reached(before)),
    isLast: ({ second }) => second >= last,
    beyond: (_, lastSecond) => {
      const missing = seconds[reached(lastSecond)]
      return missing === undefined ? null : `second ${missing}`
    },
    after: (lastSecond) => seconds.slice(reached(lastSecond))
  }
}

function byInterval(everyS: number): FrameSelection {
  if (!Number.isFinite(everyS) || everyS <= 0) {
    throw bad(`'everyS' is ${everyS}, wanted a number of seconds over 0`)
  }
  const slot = (second: number) => Math.floor((second + tolerance) / everyS)
  const slotOf = (second: string) => `floor((${second}+${tolerance})/${everyS})`
  return {
    ...unbounded,
    expression: `gte(t,-${tolerance})*if(isnan(prev_t),1,gt(${slotOf('t')},${slotOf('prev_t')}))`,
    wants: ({ second }, before) =>
      second >= -tolerance && (before === null || slot(second) > slot(before))
  }
}

function ascending(
  list: readonly number[],
  name: 'numbers' | 'seconds',
  isValid: (value: unknown) => boolean
): number[] {
  if (!Array.isArray(list)) throw bad(`'${name}' is no list, wanted a list of numbers`)
  for (const value of list) {
    if (isValid(value) && value >= 0) continue
    const wanted = name === 'numbers' ? 'whole numbers from 0' : 'numbers from 0'
    throw bad(`'${name}' has ${JSON.stringify(value)}, wanted ${wanted}`)
  }
  return [...new Set(list as number[])].sort((a, b) => a - b)
}

/** True within one of the ranges: a tree, so that a long list costs each frame a few comparisons. */
function within(variable: string, ranges: Array<[number, number]>): string {
  if (ranges.length === 0) return '0'
  if (ranges.length === 1) return `between(${variable},${ranges[0]![0]},${ranges[0]![1]})`
  const half = ranges.length >> 1
  const [left, right] = [ranges.slice(0, half), ranges.slice(half)]
  const [lower, upper] = [within(variable, left), within(variable, right)]
  return `if(lt(${variable},${right[0]![0]}),${lower},${upper})`
}

/** How many of the ascending values a variable has reached, as a tree of comparisons. */
function step(values: number[]): (variable: string) => string {
  const build = (variable: string, low: number, high: number): string => {
    if (low === high) return `${low}`
    const middle = (low + high) >> 1
    const [lower, upper] = [build(variable, low, middle), build(variable, middle + 1, high)]
    return `if(lt(${variable},${values[middle]}),${lower},${upper})`
  }
  return (variable) => build(variable, 0, values.length)
}

function countUpTo(values: number[], value: number): number {
  let [low, high] = [0, values.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (value < values[middle]!) high = middle
    else low = middle + 1
  }
  return low
}

function bad(message: string): ExpertError {
  return new ExpertError('EXP_BAD_INPUT', message)
}
