// The listings of any collection.

const CONDITIONS = [
  ['status', 'd.status == @status', (d, { status }) => same(d.status, status)],
  ['file', 'd.File == @file', (d, { file }) => same(d.File, file)],
  ['pipeline_id', 'd.pipeline_id == @pipeline_id', (d, b) => same(d.pipeline_id, b.pipeline_id)],
  ['movie_id', 'd.movie_id == @movie_id', (d, b) => same(d.movie_id, b.movie_id)],
  [
    'scene_element',
    'd.scene_element == @scene_element',
    (d, b) => same(d.scene_element, b.scene_element)
  ],
  ['image_id', 'd.id == @image_id', (d, { image_id }) => same(d.id, image_id)],
  [
    'imagePrefix',
    'STARTS_WITH(d.id, @imagePrefix)',
    (d, { imagePrefix }) => typeof d.id === 'string' && d.id.startsWith(imagePrefix)
  ],
  ['expert', 'd.expert == @expert', (d, { expert }) => same(d.expert, expert)],
  ['label', 'd.label == @label', (d, { label }) => same(d.label, label)]
]

/** As AQL compares: an attribute that is absent is null. */
export function same(found, wanted) {
  return JSON.stringify(found ?? null) === JSON.stringify(wanted)
}

export function hexOf(key) {
  return Buffer.from(key).toString('hex')
}

export function byPlace(a, b) {
  return hexOf(a._key) < hexOf(b._key) ? -1 : 1
}

/** Every statement that is known, by its whole text: the names of its bind variables, and what it gives. */
export const LISTINGS = new Map()

for (let set = 0; set < 2 ** CONDITIONS.length; set++) {
  const asked = CONDITIONS.filter((_, place) => set & (1 << place))
  const filters = asked.map(([, text]) => ` FILTER ${text}`).join('')
  for (const [text, pick] of [
    ['d', (d) => d],
    ['d._id', (d) => d._id]
  ]) {
    const query = `FOR d IN @@collection${filters} LET place = TO_HEX(d._key) FILTER place > @after SORT place LIMIT @count RETURN ${text}`
    LISTINGS.set(query, {
      names: ['@collection', ...asked.map(([name]) => name), 'after', 'count'],
      run: (transaction, bind) =>
        all(transaction, bind)
          .filter((d) => asked.every(([, , fits]) => fits(d, bind)) && hexOf(d._key) > bind.after)
          .sort(byPlace)
          .slice(0, bind.count)
          .map(pick)
    })
  }
}

LISTINGS.set(
  'FOR d IN @@collection FILTER d.movie_id == @movie_id FILTER d.scene_element == @scene_element SORT TO_HEX(d._key) LIMIT @count RETURN d',
  {
    names: ['@collection', 'movie_id', 'scene_element', 'count'],
    run: (transaction, bind) =>
      all(transaction, bind)
        .filter((d) => same(d.movie_id, bind.movie_id))
        .filter((d) => same(d.scene_element, bind.scene_element))
        .sort(byPlace)
        .slice(0, bind.count)
  }
)

function all(transaction, bind) {
  return [...transaction.read(bind['@collection']).documents.values()]
}
