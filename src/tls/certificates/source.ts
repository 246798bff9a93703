/** Reading what `certs` is given, wherever it is. */

import debug from 'debug'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CioError } from '../../errors.ts'
import { optionError } from '../../options.ts'

const log = debug('cio:certs')

/** A file's path, a `file:` URL, PEM text, or the contents themselves. */
export type CertSource = string | URL | Buffer

/** A key or PKCS#12 file with a passphrase of its own; Node's names. */
export interface KeySource {
  readonly pem?: CertSource
  readonly buf?: CertSource
  readonly passphrase?: string
}

export type Sources = CertSource | readonly CertSource[]
export type KeySources = CertSource | KeySource | readonly (CertSource | KeySource)[]

/** What was read, and how to call it in an error. */
export interface Loaded {
  readonly content: Buffer
  readonly from: string
  readonly passphrase?: string | undefined
}

/** Reads the sources of an option. */
export async function loadAll(option: string, sources: KeySources | undefined): Promise<Loaded[]> {
  if (sources === undefined) return []
  const all = Array.isArray(sources) ? (sources as (CertSource | KeySource)[]) : [sources]
  // An empty list of CAs would not be nobody: without any, Node trusts those it comes with.
  if (all.length === 0) throw optionError('certs', option, 'a source or several, not none', sources)
  return Promise.all(all.map((source) => load(option, source as CertSource | KeySource)))
}

/** Node's own error, and ours of options, would tell it. */
export function checkPassphrase(passphrase: unknown): void {
  if (passphrase === undefined || typeof passphrase === 'string') return
  throw new CioError(
    'ERR_CIO_OPTION',
    `certs: expected \`passphrase\` to be a string, got a value of type ${typeof passphrase}`,
  )
}

// Several lines, or the base64 of a SEQUENCE.
const notPath = /[\r\n]|^MI[\w+/]{40,}={0,2}$/

/** Reads one source. */
export async function load(option: string, source: CertSource | KeySource): Promise<Loaded> {
  if (Buffer.isBuffer(source)) return { content: source, from: 'as given' }
  if (source instanceof URL) return readFrom(option, fileURLToPath(source))
  if (typeof source === 'string') {
    // As of a variable of the environment that is not set; as a path it would be this directory.
    if (source === '') throw broken(option, 'as given', 'is an empty string')
    if (source.includes('-----BEGIN')) return { content: Buffer.from(source), from: 'as given' }
    // No path, and perhaps a key without its first line, so it is in no message either.
    if (notPath.test(source)) throw broken(option, 'as given', 'is neither a path nor in PEM')
    return readFrom(option, source.startsWith('file:') ? fileURLToPath(source) : resolve(source))
  }
  const inner = source?.pem ?? source?.buf
  if (inner !== undefined) {
    checkPassphrase(source.passphrase)
    return { ...(await load(option, inner)), passphrase: source.passphrase }
  }
  throw optionError(
    'certs',
    option,
    'a path, a file: URL, PEM text, a Buffer, or an array of these',
    source,
  )
}

async function readFrom(option: string, path: string): Promise<Loaded> {
  log('reads %s from %s', option, path)
  try {
    return { content: await readFile(path), from: path }
  } catch (cause) {
    throw broken(option, path, `cannot be read: ${(cause as Error).message}`, cause)
  }
}

/** The error of a source: names the option and the file. */
export function broken(option: string, from: string, what: string, cause?: unknown): CioError {
  return new CioError('ERR_CIO_CERTIFICATE', `certs: \`${option}\` (${from}) ${what}`, { cause })
}

/** The files that sources are read from. */
export function pathsOf(sources: object): string[] {
  const all = Object.entries(sources).filter(([option]) => fileOptions.has(option))
  return all.flatMap(([, value]) =>
    ([value].flat() as unknown[]).flatMap((source) => {
      const { pem, buf } = source as KeySource
      const path = pathOf(pem ?? buf ?? (source as CertSource))
      return path === undefined ? [] : [path]
    }),
  )
}

const older = ['private', 'public', 'root']
const fileOptions = new Set([...older, 'key', 'cert', 'ca', 'pfx', 'crl', 'dhparam'])

/** Where a source is to be read from; undefined if it is there already, or is nothing to be read. */
function pathOf(source: CertSource): string | undefined {
  if (source instanceof URL) return fileURLToPath(source)
  if (typeof source !== 'string' || notPath.test(source)) return undefined
  return source.startsWith('file:') ? fileURLToPath(source) : resolve(source)
}
