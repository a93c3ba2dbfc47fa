import { ExpertError } from '../errors.ts'
import { inputOptions } from './ffmpeg-input.ts'
import { decodedFilter, FrameLog, passedFilter } from './frame-log.ts'
import { type FrameSelection, selectFrames } from './frame-selection.ts'
import type { FrameOptions, VideoFrame } from './media.ts'
import { type ProbedMedia, probeMedia, type ReadOptions } from './probe.ts'
import { FfmpegRun } from './run-ffmpeg.ts'

type Video = NonNullable<ProbedMedia['video']>

/**
 * Decodes frames with one run of ffmpeg; see `frames` of {@link Media}.
 *
 * @throws ExpertError EXP_BAD_INPUT, EXP_MEDIA_UNREADABLE, EXP_MEDIA_TOO_LARGE, EXP_MEDIA_TIMEOUT,
 *   EXP_CANCELED, EXP_MEDIA_NO_FFMPEG
 */
export async function* readFrames(
  file: string,
  options: FrameOptions,
  around: Omit<ReadOptions, 'signal'>
): AsyncGenerator<VideoFrame> {
  const { policy, programs } = around
  const { signal, channels = 3, missing = 'error' } = options
  selectFrames(options, 0)
  if (options.numbers?.length === 0 || options.seconds?.length === 0) return
  const info = await probeMedia(file, { ...around, signal })
  const video = checkedVideo(info, policy.maxPixels)
  const size = frameSize(video, options, policy.maxPixels)
  const ends = info.durationS ?? Number.POSITIVE_INFINITY
  const selection = selectFrames(options, ends - 2 / (video.fps || 25) - 0.1)
  const log = new FrameLog(selection)
  const run = new FfmpegRun(
    await programs.ffmpeg(),
    [
      ...['-hide_banner', '-nostdin', '-nostats', '-v', 'level+info'],
      ...['-timelimit', `${Math.ceil((2 * policy.videoTimeoutMs) / 1000)}`],
      // A change of size in the middle would begin the counting of frames anew.
      ...['-noautorotate', '-reinit_filter', '0'],
      ...inputOptions(info.path, policy.maxPixels),
      ...['-map', `0:${info.videoStream}`, '-filter_threads', '1'],
      ...['-vf', filters(video, selection, size, channels)],
      // Else it would decode on until the last frame has been seen here.
      ...(selection.passing === null ? [] : ['-frames:v', `${selection.passing}`]),
      // Stamped one by one at the rate of the output, frames are neither repeated nor left out.
      ...['-r', '25', '-flush_packets', '1', '-f', 'rawvideo', 'pipe:1']
    ],
    {
      path: info.path,
      name: info.name,
      timeoutMs: policy.videoTimeoutMs,
      signal,
      onLine: (line) => log.take(line),
      onEnd: () => log.end()
    }
  )
  try {
    let held: VideoFrame | null = null
    let lastGiven = -1
    while (true) {
      const data = new Uint8Array(size.width * size.height * channels)
      const bytes = await run.fill(data)
      if (bytes < data.length) break
      const told = await run.waitFor(log.next())
      if (told === undefined) throw run.unreadable('has frames that ffmpeg does not tell of')
      const { number, second, wanted } = told
      const at = Number.isFinite(second) ? second : number / (video.fps || 25)
      const frame: VideoFrame = { data, ...size, channels, number, second: at }
      held = wanted ? null : frame
      if (!wanted) continue
      lastGiven = number
      yield frame
      if (selection.isLast(told)) return
    }
    await run.end()
    if (log.count === 0) throw run.unreadable('has no frame that can be decoded')
    const late = selection.after(log.lastSecond)
    const gap = Math.max(log.lastSecond - (log.beforeLast ?? log.lastSecond), 1 / (video.fps || 25))
    const endsAt = log.lastSecond + gap
    if (late.length > 0 && late[0]! < endsAt) {
      if (held?.number === log.count - 1 && held.number !== lastGiven) yield held
      late.splice(0, late.findIndex((second) => second >= endsAt) >>> 0)
    }
    if (missing === 'skip') return
    const brokenOff = run.complaints.length > 0 && ends - endsAt > Math.max(1, 2 * gap)
    if (brokenOff) {
      const whole = `${log.count} frames, ${endsAt.toFixed(1)} of ${ends.toFixed(1)} s`
      throw run.unreadable(`breaks off after ${whole}`)
    }
    const beyond = late.length > 0 ? `second ${late[0]}` : selection.beyond(log.count, endsAt)
    if (beyond === null) return
    const has = `${log.count} frames and ends at ${Number(endsAt.toFixed(3))} s`
    throw new ExpertError('EXP_BAD_INPUT', `${run.name} has ${has}, wanted ${beyond}`)
  } finally {
    await run.stop()
  }
}

/** @throws ExpertError EXP_MEDIA_UNREADABLE without video, EXP_MEDIA_TOO_LARGE */
export function checkedVideo({ name, video }: ProbedMedia, maxPixels: number): Video {
  if (video === null) {
    throw new ExpertError(
      'EXP_MEDIA_UNREADABLE',
      `${name} has no video, only sound, wanted a video`
    )
  }
  const { width, height } = video
  if (width * height > maxPixels) {
    const size = `frames of ${width} × ${height} = ${width * height} pixels`
    throw new ExpertError('EXP_MEDIA_TOO_LARGE', `${name} has ${size}, wanted at most ${maxPixels}`)
  }
  return video
}

interface Size {
  width: number
  height: number
}

function frameSize(video: Video, options: FrameOptions, maxPixels: number): Size {
  const { width, height, fit = 'stretch' } = options
  for (const [name, value] of Object.entries({ width, height })) {
    if (value === undefined || (Number.isSafeInteger(value) && value > 0)) continue
    const message = `'${name}' of the frames is ${value}, wanted a whole number of at least 1`
    throw new ExpertError('EXP_BAD_INPUT', message)
  }
  if (fit !== 'stretch' && fit !== 'inside') {
    throw new ExpertError('EXP_BAD_INPUT', `'fit' is '${fit}', wanted stretch or inside`)
  }
  const size = sizeOf(video, width, height, fit)
  if (size.width * size.height <= maxPixels) return size
  const message = `frames of ${size.width} × ${size.height} are wanted, of at most ${maxPixels} pixels`
  throw new ExpertError('EXP_BAD_INPUT', message)
}

function sizeOf(video: Video, width?: number, height?: number, fit?: string): Size {
  if (width === undefined && height === undefined) {
    return { width: video.width, height: video.height }
  }
  if (width !== undefined && height !== undefined && fit === 'stretch') return { width, height }
  const ratio = Math.min((width ?? Infinity) / video.width, (height ?? Infinity) / video.height)
  const scaled = (side: number) => Math.max(1, Math.round(side * ratio))
  return { width: scaled(video.width), height: scaled(video.height) }
}

const turns = { 0: '', 90: 'transpose=clock', 180: 'hflip,vflip', 270: 'transpose=cclock' }

function filters(video: Video, selection: FrameSelection, size: Size, channels: 1 | 3): string {
  const turned = video.rotation === 90 || video.rotation === 270
  const [width, height] = turned ? [size.height, size.width] : [size.width, size.height]
  return [
    decodedFilter,
    `select='${selection.expression}'`,
    passedFilter,
    `scale=${width}:${height}`,
    `format=${channels === 1 ? 'gray' : 'rgb24'}`,
    turns[video.rotation],
    'settb=1/25',
    'setpts=N'
  ]
    .filter((filter) => filter !== '')
    .join(',')
}
