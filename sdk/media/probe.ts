import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, resolve } from 'node:path'
import { ExpertError } from '../errors.ts'
import { inputOptions } from './ffmpeg-input.ts'
import type { FfmpegPrograms } from './find-ffmpeg.ts'
import type { MediaInfo, MediaPolicy } from './media.ts'
import { FfmpegRun } from './run-ffmpeg.ts'

export interface ReadOptions {
  programs: FfmpegPrograms
  policy: Pick<MediaPolicy, 'maxPixels' | 'videoTimeoutMs'>
  signal?: AbortSignal
  /** How messages name the file; default: its own name. */
  name?: string
}

/** {@link MediaInfo}, and which streams of the file it speaks of. */
export interface ProbedMedia extends MediaInfo {
  /** Absolute. */
  path: string
  /** How messages name it. */
  name: string
  videoStream: number
  audioStream: number
}

const entries = [
  'format=format_name,duration',
  'stream=index,codec_type,codec_name,width,height,avg_frame_rate,r_frame_rate,nb_frames,sample_rate,channels,duration',
  'stream_disposition=attached_pic',
  'stream_tags=rotate',
  'stream_side_data=rotation'
].join(':')

const mostText = 4 * 1024 * 1024

/**
 * Asks ffprobe what a file holds.
 *
 * @throws ExpertError EXP_MEDIA_UNREADABLE, EXP_MEDIA_TIMEOUT, EXP_CANCELED, EXP_MEDIA_NO_FFMPEG
 */
export async function probeMedia(file: string, options: ReadOptions): Promise<ProbedMedia> {
  const { programs, policy, signal } = options
  const path = resolve(file)
  const name = options.name ?? basename(path)
  const program = await programs.ffprobe()
  await checkRegular(path, name)
  const args = ['-v', 'level+error', '-of', 'json', '-show_entries', entries]
  const input = inputOptions(path, policy.maxPixels)
  const run = new FfmpegRun(program, [...args, ...input], {
    path,
    name,
    timeoutMs: policy.videoTimeoutMs,
    signal
  })
  try {
    const text = (await run.readAll(mostText)).toString('utf8')
    await run.end()
    const info = parse(text, path, name)
    if (info === null || (info.video === null && info.audio === null)) {
      throw run.unreadable('holds neither video nor sound that can be read')
    }
    return info
  } finally {
    await run.stop()
  }
}

// Opening a pipe would wait for its other end, in ffprobe as here.
async function checkRegular(path: string, name: string): Promise<void> {
  const unreadable = (found: string, cause?: unknown) =>
    new ExpertError('EXP_MEDIA_UNREADABLE', `${name} ${found}, wanted a media file`, { cause })
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)
  const handle = await open(path, flags).catch((cause) => {
    throw unreadable(`cannot be opened (${cause.code})`, cause)
  })
  try {
    if (!(await handle.stat()).isFile()) throw unreadable('is not a regular file')
  } finally {
    await handle.close()
  }
}

interface Stream {
  index: number
  codec_type?: string
  codec_name?: string
  width?: number
  height?: number
  avg_frame_rate?: string
  r_frame_rate?: string
  nb_frames?: string
  sample_rate?: string
  channels?: number
  duration?: string
  disposition?: { attached_pic?: number }
  tags?: { rotate?: string }
  side_data_list?: Array<{ rotation?: number }>
}

function parse(text: string, path: string, name: string): ProbedMedia | null {
  let found: { format?: { format_name?: string; duration?: string }; streams?: Stream[] }
  try {
    found = JSON.parse(text)
  } catch {
    return null
  }
  const { format, streams = [] } = found
  if (format?.format_name === undefined) return null
  const video = streams.find(isVideo)
  const audio = streams.find((stream) => stream.codec_type === 'audio' && stream.codec_name)
  const durations = [format.duration, video?.duration, audio?.duration].map(Number)
  return {
    path,
    name,
    format: format.format_name,
    durationS: durations.find((seconds) => Number.isFinite(seconds) && seconds >= 0) ?? null,
    video: video === undefined ? null : describeVideo(video),
    audio:
      audio === undefined
        ? null
        : {
            codec: audio.codec_name as string,
            sampleRate: Number(audio.sample_rate ?? 0),
            channels: audio.channels ?? 0
          },
    videoStream: video?.index ?? -1,
    audioStream: audio?.index ?? -1
  }
}

function isVideo(stream: Stream): boolean {
  const { codec_type: type, codec_name: codec, width = 0, height = 0, disposition } = stream
  return type === 'video' && !!codec && width > 0 && height > 0 && !disposition?.attached_pic
}

function describeVideo(stream: Stream): NonNullable<MediaInfo['video']> {
  const { width = 0, height = 0 } = stream
  const rotation = rotationOf(stream)
  const turned = rotation === 90 || rotation === 270
  const frames = Number(stream.nb_frames)
  return {
    codec: stream.codec_name as string,
    width: turned ? height : width,
    height: turned ? width : height,
    fps: ratio(stream.avg_frame_rate) || ratio(stream.r_frame_rate),
    frames: Number.isSafeInteger(frames) && frames > 0 ? frames : null,
    rotation
  }
}

/** The matrix says how far it is turned against the clock; the tag of old releases, with it. */
function rotationOf({ side_data_list: list = [], tags }: Stream): 0 | 90 | 180 | 270 {
  const matrix = list.find((data) => data.rotation !== undefined)?.rotation
  const degrees = matrix === undefined ? Number(tags?.rotate ?? 0) : -matrix
  const quarter = ((Math.round(degrees / 90) % 4) + 4) % 4
  return ([0, 90, 180, 270] as const)[quarter] ?? 0
}

function ratio(text = '0/0'): number {
  const [over = 0, under = 1] = text.split('/').map(Number)
  return under > 0 && over > 0 ? over / under : 0
}
