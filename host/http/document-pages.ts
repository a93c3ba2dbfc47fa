/** One document that a page can show; the URL is relative to the page. */
export interface ShownDocument {
  name: string
  url: string
}

/** From a page under `base` up to the folder in which the host serves the pages' own files. */
function assets(base: string): string {
  const depth = base === '' ? 0 : base.split('/').length - 1
  return `${'../'.repeat(depth)}docs/assets`
}

/** Swagger UI over one document or several. All links are relative: a proxy may add a prefix. */
export function docsPage(title: string, documents: ShownDocument[], base: string): string {
  const files = `${assets(base)}/static`
  const [only] = documents
  const source =
    documents.length === 1 && only !== undefined ? { url: only.url } : { urls: documents }
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} - API</title>
<link rel="stylesheet" href="${files}/swagger-ui.css">
<link rel="icon" type="image/png" href="${files}/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="${files}/swagger-ui-bundle.js"></script>
<script src="${files}/swagger-ui-standalone-preset.js"></script>
<script>
window.ui = SwaggerUIBundle(Object.assign(${scriptValue(source)}, {
  dom_id: '#swagger-ui',
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  layout: ${documents.length === 1 ? "'BaseLayout'" : "'StandaloneLayout'"},
  validatorUrl: null
}))
</script>
</body>
</html>
`
}

/** The same document laid out for reading. */
export function readingPage(title: string, url: string, base: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} - API reference</title>
<script src="${assets(base)}/rapidoc-min.js"></script>
</head>
<body>
<rapi-doc spec-url="${escapeHtml(url)}" render-style="read" theme="light" load-fonts="false"
  show-header="false" allow-try="false" allow-authentication="false" allow-server-selection="false"
  allow-spec-file-load="false" allow-spec-url-load="false" regular-font="sans-serif"
  mono-font="monospace"></rapi-doc>
</body>
</html>
`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

/** JSON that cannot end the script it stands in. */
function scriptValue(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c')
}
