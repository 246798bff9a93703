/** The programs of a page of the documentation, to be run with a client. */

import type { ExecutionContext } from 'ava'
import { transform } from 'esbuild'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { ServerContext } from '../../src/index.ts'
import { path } from './certificates.ts'
import { built } from './typescript.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const source = built(new URL('../../src/index.ts', import.meta.url)).href

/** The whole programs of a page, in their order. */
export function programsOf(page: string): string[] {
  const text = readFileSync(root + page, 'utf8')
  return Array.from(text.matchAll(/^```ts\n([^]*?)^```/gm), ([, code = '']) => code)
}

/**
 * Runs a program of a page up to where it would close its server, on a free port, with the
 * certificates of the tests. Fulfils with the server.
 *
 * @param replaced What stands for what the page names and the test does not have, such as ports.
 */
export async function serveProgram(
  t: ExecutionContext,
  program: string,
  replaced: Readonly<Record<string, string>> = {},
): Promise<ServerContext> {
  let code = program
    .replace("from 'cio'", `from '${source}'`)
    .replace(/listen\(\d+/, 'listen(0')
    .replace('await server.close()', 'export { server }')
    .replace(/'(\w+\.(?:key|crt))'/g, (_, file: string) => `'${path(file)}'`)
  for (const [from, to] of Object.entries(replaced)) {
    if (!code.includes(from)) throw new Error(`the program has no ${from}`)
    code = code.replace(from, to)
  }
  const folder = `${root}build/page-${process.pid}`
  const file = `${folder}/${Math.random().toString(36).slice(2)}.mjs`
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(file, (await transform(code, { loader: 'ts' })).code)
  const { server } = (await import(pathToFileURL(file).href)) as { server: ServerContext }
  t.teardown(() => server.close({ timeout: 0 }))
  return server
}
