/** The files of the page: the built ones, or, in a clone without a build, bundled on first use. */

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

/** The script and the style of the page. */
export interface Assets {
  readonly script: string
  readonly style: string
}

let loaded: Promise<Assets> | undefined

/** Reads the files, once. */
export function assets(): Promise<Assets> {
  return (loaded ??= load())
}

async function load(): Promise<Assets> {
  const built = new URL('page/page.js', import.meta.url)
  if (existsSync(built)) {
    const [script, style] = await Promise.all([
      readFile(built, 'utf8'),
      readFile(new URL('page/page.css', import.meta.url), 'utf8'),
    ])
    return { script, style }
  }
  const { bundlePage } = (await import(
    new URL('../../scripts/bundle-page.ts', import.meta.url).href
  )) as { readonly bundlePage: () => Promise<Assets> }
  return bundlePage()
}

/** The document. The script draws all of its content. */
export const document = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>cio watch</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
<script type="module" src="page.js"></script>
</head>
<body><noscript>This page needs JavaScript; /snapshot has its figures as JSON.</noscript></body>
</html>
`
