/** The certificates of the tests: made once a day by openssl, shared by all test processes. */

import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forgeAll } from './forge.ts'
import { makeCertificates } from './make-certificates.ts'

const recipe: string = fileURLToPath(new URL('make-certificates.ts', import.meta.url))
const forgery: string = fileURLToPath(new URL('forge.ts', import.meta.url))

/** The directory that holds them. */
export const directory: string = make()

/** The path of a file of theirs: `path('alice.crt')`. */
export function path(file: string): string {
  return join(directory, file)
}

/** The contents of a file of theirs. */
export function contents(file: string): Buffer {
  return readFileSync(path(file))
}

/** The paths of a key and its certificate, as `certs`, `listen` and `connect` take them. */
export function identity(name: string): { key: string; cert: string } {
  return { key: path(`${name}.key`), cert: path(`${name}.crt`) }
}

/** The contents of a key and its certificate, as Node's `tls` takes them. */
export function loaded(name: string): { key: Buffer; cert: Buffer } {
  return { key: contents(`${name}.key`), cert: contents(`${name}.crt`) }
}

function make(): string {
  const day = new Date().toISOString().slice(0, 10)
  const recipes = Buffer.concat([readFileSync(recipe), readFileSync(forgery)])
  const hash = createHash('sha256').update(recipes).update(day).digest('hex')
  const target = join(tmpdir(), `cio-certificates-${hash.slice(0, 16)}`)
  if (existsSync(target)) return target

  const draft = mkdtempSync(join(tmpdir(), 'cio-certificates-draft-'))
  makeCertificates(draft)
  forgeAll(draft)
  try {
    renameSync(draft, target)
  } catch {
    // Another process was faster.
    rmSync(draft, { recursive: true })
  }
  return target
}
