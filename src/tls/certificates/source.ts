/** Reads the sources of `certs`: files, URLs, PEM text and Buffers. */

import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { debug } from '../../debug.ts'
import { CioError } from '../../errors.ts'
import { optionError } from '../../options.ts'
import { readSource } from './read-source.ts'

const log = debug('cio:certs')

/** The path of a file, a `file:` URL, PEM text, or the contents as a Buffer. */
export type CertSource = string | URL | Buffer

/** A key or PKCS#12 file with its own passphrase, under Node's names. */
export interface KeySource {
  /** The key, in PEM. */
  readonly pem?: CertSource
  /** The PKCS#12 file. */
  readonly buf?: CertSource
  /** Its passphrase. Without it, that of the options. */
  readonly passphrase?: string
}

export type Sources = CertSource | readonly CertSource[]
export type KeySources = CertSource | KeySource | readonly (CertSource | KeySource)[]

/** The contents of a source, and its name in errors. */
export interface Loaded {
  readonly content: Buffer
  readonly from: string
  readonly passphrase?: string | undefined
}

/** Reads the sources of an option. */
export async function loadAll(option: string, sources: KeySources | undefined): Promise<Loaded[]> {
  if (sources === undefined) return []
  const all = Array.isArray(sources) ? (sources as (CertSource | KeySource)[]) : [sources]
  // An empty list of CAs would not mean "trust no CA": without `ca`, Node trusts the CAs that it
  // comes with.
  if (all.length === 0) throw optionError('certs', option, 'a source or several, not none', sources)
  return Promise.all(all.map((source) => load(option, source as CertSource | KeySource)))
}

/** Node's own error, and `optionError`, would reveal the passphrase. */
export function checkPassphrase(passphrase: unknown): void {
  if (passphrase === undefined || typeof passphrase === 'string') return
  throw new CioError(
    'ERR_CIO_OPTION',
    `certs: expected \`passphrase\` to be a string, got a value of type ${typeof passphrase}`,
  )
}

// Several lines, or a SEQUENCE in base64.
const notPath = /[\r\n]|^MI[\w+/]{40,}={0,2}$/

/** Reads one source. */
export async function load(option: string, source: CertSource | KeySource): Promise<Loaded> {
  if (Buffer.isBuffer(source)) return { content: source, from: 'as given' }
  if (source instanceof URL) return readFrom(option, fileURLToPath(source))
  if (typeof source === 'string') {
    // For example an environment variable that is not set; as a path it would mean this directory.
    if (source === '') throw certificateError(option, 'as given', 'is an empty string')
    if (source.includes('-----BEGIN')) return { content: Buffer.from(source), from: 'as given' }
    // This may be a key without its first line, so the error does not contain it.
    if (notPath.test(source))
      throw certificateError(option, 'as given', 'is neither a path nor in PEM')
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
    return { content: await readSource(path), from: path }
  } catch (cause) {
    throw certificateError(option, path, `cannot be read: ${(cause as Error).message}`, cause)
  }
}

/** The error for a source: names the option and the file. */
export function certificateError(
  option: string,
  from: string,
  what: string,
  cause?: unknown,
): CioError {
  return new CioError('ERR_CIO_CERTIFICATE', `certs: \`${option}\` (${from}) ${what}`, { cause })
}

/** The paths of the files among the sources. */
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

/** The path that a source is read from; undefined if it is not a file. */
function pathOf(source: CertSource): string | undefined {
  if (source instanceof URL) return fileURLToPath(source)
  if (typeof source !== 'string' || notPath.test(source)) return undefined
  return source.startsWith('file:') ? fileURLToPath(source) : resolve(source)
}
