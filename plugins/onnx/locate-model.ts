import { access } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ExpertError } from '@nebula-experts/sdk'

/** Where a served model lies. */
export interface ModelPlace {
  /** Path of the model. */
  model: string
  /** Path of its `expert.json`; null when there is none. */
  config: string | null
}

/** Where the host puts the files of a dropped folder: beside the built code of this package. */
const OWN_FOLDER = fileURLToPath(new URL('../model/', import.meta.url))

/**
 * Finds the model: in the folder that the host served it from, else where `ONNX_MODEL` says.
 *
 * A model's own folder comes first, because variables of the host's environment are every expert's.
 *
 * @param folder - of a model that comes with the package; default: `model/` of this package
 * @throws ExpertError EXP_MODEL saying what to set
 */
export async function locateModel(
  named: { model: string | null; config: string | null },
  folder: string = OWN_FOLDER
): Promise<ModelPlace> {
  const own = join(folder, 'model.onnx')
  if (await isThere(own)) return { model: own, config: await configBeside(own) }
  const { model, config } = named
  if (model === null) {
    throw new ExpertError(
      'EXP_MODEL',
      'There is no model: set ONNX_MODEL to the path of one, or put a folder with model.onnx and expert.json into a plugin folder'
    )
  }
  for (const [variable, path] of Object.entries({ ONNX_MODEL: model, ONNX_CONFIG: config })) {
    if (path === null || isAbsolute(path)) continue
    const how = "give it from '/', or from './' in the \"env\" of experts.config.json"
    throw new ExpertError('EXP_MODEL', `${variable} is '${path}', which starts nowhere: ${how}`)
  }
  return { model, config: config ?? (await configBeside(model)) }
}

async function configBeside(model: string): Promise<string | null> {
  const path = join(dirname(model), 'expert.json')
  return (await isThere(path)) ? path : null
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false
  )
}
