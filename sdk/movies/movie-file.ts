import type { StoredDocument } from '../documents.ts'
import { ExpertError } from '../errors.ts'
import type { FrameOptions, Media, MediaInfo, VideoFrame } from '../media/media.ts'
import type { FrameChoice } from './frame-choice.ts'
import { type SceneElement, sceneElementsOf } from './scene-elements.ts'

/** A frame by which a movie is judged. */
export interface ChosenFrame extends VideoFrame {
  /** Number of the scene element in which it lies; 0 in a movie that has none. */
  sceneElement: number
  /** How much of what is to be looked at lies before it, 0 to 1. */
  fraction: number
}

/** Which frames to look at, and how large they are to be. */
export interface ChooseOptions extends Pick<FrameOptions, 'width' | 'height' | 'fit' | 'channels'> {
  /** The scene element that counts; null or left out: all. */
  sceneElement?: number | null
  /** Default: the middle frames, or without such a frame a second. */
  choice?: FrameChoice | null
}

/** A movie's document with the file that it speaks of. A movie may be one picture. */
export class MovieFile {
  readonly movie: StoredDocument
  /** Where the file lies; it is not to be changed. */
  readonly path: string
  /** It is one picture: frame 0 is all of it. */
  readonly isPicture: boolean
  /** What the document says of scene elements; none when it does not. */
  readonly sceneElements: readonly SceneElement[]
  readonly #media: Media
  readonly #signal: AbortSignal
  #probed: Promise<MediaInfo> | undefined

  /** @throws ExpertError EXP_BAD_INPUT when the document's scene elements are not what they should be */
  constructor(
    media: Media,
    file: { movie: StoredDocument; path: string; isPicture: boolean; signal: AbortSignal }
  ) {
    this.#media = media
    this.#signal = file.signal
    this.movie = file.movie
    this.path = file.path
    this.isPicture = file.isPicture
    this.sceneElements = sceneElementsOf(file.movie)
  }

  /** What the file says of itself. @throws ExpertError as `media.probe` */
  probe(): Promise<MediaInfo> {
    this.#probed ??= this.#media.probe(this.path, { signal: this.#signal })
    return this.#probed
  }

  /** Its frames, as `media.frames` gives them; of a picture the one frame. */
  frames(options: Omit<FrameOptions, 'signal'> = {}): AsyncIterable<VideoFrame> {
    if (this.isPicture) return this.#picture(options.channels ?? 3)
    return this.#media.frames(this.path, { ...options, signal: this.#signal })
  }

  /**
   * Its sound, 16 kHz mono unless said otherwise.
   * @throws ExpertError as `media.sound`; EXP_MEDIA_UNREADABLE for a picture
   */
  sound(options: { sampleRate?: number } = {}): AsyncIterable<Float32Array> {
    return this.#media.sound(this.path, { ...options, signal: this.#signal })
  }

  /**
   * The frames by which the movie is judged, in ascending order: the middle frames of its scene elements, or what
   * the choice says. A movie without scene elements is one that holds all of it. Sizes are heeded by videos alone:
   * of a picture the picture is given as it is.
   *
   * @throws ExpertError EXP_BAD_INPUT for a scene element or middle frame that it does not have; else as `media.frames`
   */
  async *chosenFrames(options: ChooseOptions = {}): AsyncGenerator<ChosenFrame> {
    const { sceneElement = null, choice, ...size } = options
    const { mdf, every, every_s } = choice ?? {}
    checkFrameChoice(choice ?? {})
    const elements = this.#elements(sceneElement)
    if (this.isPicture) {
      if (mdf !== undefined && mdf > 0) throw noMiddleFrame(mdf, 1, `${this.movie._id}, a picture`)
      for await (const frame of this.frames(size)) yield { ...frame, sceneElement: 0, fraction: 0 }
      return
    }
    const byMiddle = every === undefined && every_s === undefined
    const middles = byMiddle ? this.#middleFrames(elements, mdf) : new Map<number, number>()
    if (middles.size > 0) {
      let done = 0
      for await (const frame of this.frames({ ...size, numbers: [...middles.keys()] })) {
        yield { ...frame, sceneElement: middles.get(frame.number)!, fraction: done / middles.size }
        done += 1
      }
      return
    }
    const { durationS } = await this.probe()
    const step = every === undefined ? { everyS: every_s ?? 1 } : { every }
    const end = Math.max(...elements.map(({ last }) => last))
    for await (const frame of this.frames({ ...size, ...step })) {
      const fraction = durationS === null ? 0 : Math.min(1, frame.second / durationS)
      if (elements.length === 0) yield { ...frame, sceneElement: 0, fraction }
      else if (frame.number > end) return
      for (const { number, first, last } of elements) {
        if (frame.number < first || frame.number > last) continue
        yield { ...frame, sceneElement: number, fraction }
        break
      }
    }
  }

  #elements(sceneElement: number | null): readonly SceneElement[] {
    const all = this.sceneElements
    if (sceneElement === null || (sceneElement === 0 && all.length === 0)) return all
    const one = all[sceneElement]
    if (one !== undefined) return [one]
    const known = all.length === 0 ? 'only 0, all of it' : `0 to ${all.length - 1}`
    const message = `Field 'scene_element' is ${sceneElement}, ${this.movie._id} has ${known}`
    throw new ExpertError('EXP_BAD_INPUT', message)
  }

  /** The scene element of each middle frame. */
  #middleFrames(elements: readonly SceneElement[], mdf: number | undefined): Map<number, number> {
    const middles = new Map<number, number>()
    if (mdf !== undefined && elements.length === 0) throw noMiddleFrame(mdf, 0, this.movie._id)
    for (const { number, middleFrames } of elements) {
      if (mdf !== undefined && middleFrames[mdf] === undefined) {
        const of = `scene element ${number} of ${this.movie._id}`
        throw noMiddleFrame(mdf, middleFrames.length, of)
      }
      const frames = mdf === undefined ? middleFrames : [middleFrames[mdf]!]
      for (const frame of frames) middles.set(frame, number)
    }
    return middles
  }

  async *#picture(channels: 1 | 3): AsyncGenerator<VideoFrame> {
    const image = await this.#media.decodeImage(this.path, {
      channels,
      name: String(this.movie.url_path)
    })
    yield { ...image, number: 0, second: 0 }
  }
}

function noMiddleFrame(mdf: number, count: number, of: string): ExpertError {
  const known = count === 0 ? 'no middle frames' : `middle frames 0 to ${count - 1}`
  return new ExpertError('EXP_BAD_INPUT', `Field 'mdf' is ${mdf}, ${of} has ${known}`)
}

function checkFrameChoice({ mdf, every, every_s }: FrameChoice): void {
  const given = Object.entries({ mdf, every, every_s }).filter(([, value]) => value !== undefined)
  if (given.length > 1) {
    const names = given.map(([name]) => `'${name}'`).join(' and ')
    throw new ExpertError('EXP_BAD_INPUT', `Of ${names} only one can be given`)
  }
}
