// How Node finds and reads TypeScript in the tests: see typescript.mjs. The JavaScript that esbuild makes
// is kept by the contents of its source, so it is never out of date.

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename } from 'node:path'

const root = new URL('../../', import.meta.url)
const cache = new URL('node_modules/.cache/typescript/', root)
const { paths } = JSON.parse(readFileSync(new URL('tsconfig.json', root), 'utf8')).compilerOptions
const recipe = readFileSync(new URL(import.meta.url))
mkdirSync(cache, { recursive: true })

/** `cio`, `cio/kit` and the like are sources of the clone, as tsconfig.json has it. */
export function resolve(specifier, context, next) {
  return next((/^@?cio\b/.test(specifier) ? ofClone(specifier) : undefined) ?? specifier, context)
}

export function load(url, context, next) {
  // `?` and what follows make a second copy of a module.
  if (!/\.ts(\?|$)/.test(url) || url.includes('/node_modules/')) return next(url, context)
  return { format: 'module', shortCircuit: true, source: javaScript(url) }
}

function ofClone(specifier) {
  for (const [pattern, [target]] of Object.entries(paths)) {
    if (specifier === pattern) return new URL(target, root).href
    const [before, after] = pattern.split('*')
    if (after === undefined || !specifier.startsWith(before)) continue
    return new URL(target.replace('*', specifier.slice(before.length)), root).href
  }
  return undefined
}

function javaScript(url) {
  const source = readFileSync(new URL(url))
  const name = basename(new URL(url).pathname)
  const hash = createHash('sha256').update(recipe).update(name).update(source).digest('hex')
  const made = new URL(`${hash}.js`, cache)
  try {
    return readFileSync(made, 'utf8')
  } catch {
    // Loaded only here: most processes find all that they need.
    const { transformSync } = createRequire(import.meta.url)('esbuild')
    const { code } = transformSync(source, {
      loader: 'ts',
      target: 'node20.19',
      supported: { 'import-attributes': true },
      keepNames: true,
      sourcefile: name,
      sourcemap: 'inline',
      sourcesContent: false,
      tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
    })
    // Renamed, since another process may read it meanwhile.
    const draft = new URL(`${hash}.${process.pid}`, cache)
    writeFileSync(draft, code)
    renameSync(draft, made)
    return code
  }
}
