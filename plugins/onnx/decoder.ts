import { ExpertError, type TSchema } from '@nebula-experts/sdk'
import type { Placement } from '@nebula-experts/sdk/images'

/** One picture's part of an output. */
export interface Item {
  data: ArrayLike<number>
  /** Without the axis of pictures. */
  shape: readonly number[]
}

/** The picture that is being answered, and where it lay on the model's canvas. */
export interface Seen {
  width: number
  height: number
  placement: Placement
}

/** What a request may say in place of `expert.json`. */
export interface Wishes {
  min_score?: number | undefined
  top_k?: number | undefined
  iou?: number | undefined
}

/** One thing that a decoder reads out of a model's outputs. */
export interface Finding {
  label: string | null
  score: number | null
  /** `[left, top, right, bottom]`, pixels of the original. */
  bbox: [number, number, number, number] | null
  /** Further facts of it. */
  facts: Record<string, unknown> | null
  embedding?: number[]
}

/** What a decoder knows of the model before it reads anything. */
export interface DecoderModel {
  /** Names of its outputs that are numbers. */
  outputs: readonly string[]
  canvas: { width: number; height: number }
  labels: readonly string[] | null
}

/** Reads what a model gave for a picture. */
export interface Decoder {
  /** Names of the outputs it reads, in the order of its items. */
  outputs: readonly string[]
  /** @throws ExpertError EXP_MODEL when outputs of these shapes are not what it reads */
  check(items: readonly Item[]): void
  read(items: readonly Item[], seen: Seen, wishes: Wishes): Finding[]
}

/** One value of `decoder.type`. */
export interface DecoderKind {
  /** Of the keys under `decoder`, `type` among them. */
  settings: TSchema
  make(settings: never, model: DecoderModel): Decoder
}

/** @throws ExpertError EXP_MODEL when that is no output of the model */
export function outputNamed(model: DecoderModel, key: string, name: string | undefined): string {
  const known = model.outputs.map((output) => `'${output}'`).join(', ')
  if (name !== undefined) {
    if (model.outputs.includes(name)) return name
    throw misfit(`decoder.${key}: the model has no output '${name}' of numbers, it has ${known}`)
  }
  const [only] = model.outputs
  if (only !== undefined && model.outputs.length === 1) return only
  throw misfit(`decoder.${key} is required: the model has the outputs ${known}`)
}

/** @throws ExpertError EXP_MODEL when there are labels, and not as many as classes */
export function checkLabels(labels: readonly string[] | null, classes: number): void {
  if (labels === null || labels.length === classes) return
  throw misfit(`labels: found ${labels.length}, the model tells ${classes} classes`)
}

export function labelOf(labels: readonly string[] | null, index: number): string {
  return labels?.[index] ?? String(index)
}

export function misfit(why: string): ExpertError {
  return new ExpertError('EXP_MODEL', `expert.json: ${why}`)
}

/** To four digits, as scores are shown. */
export function rounded(score: number): number {
  return Math.round(score * 1e4) / 1e4
}

export function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value))
}
