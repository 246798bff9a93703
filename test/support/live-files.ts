/** Files of certificates that are replaced while a server runs, in all the ways there are. */

import type { ExecutionContext } from 'ava'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { type ConnectionOptions, type TLSSocket, connect } from 'node:tls'
import { contents, path } from './certificates.ts'

/** A key, a certificate, a CA and a list, in a directory of their own. */
export class LiveFiles {
  readonly directory: string
  readonly key: string
  readonly cert: string
  readonly ca: string
  readonly crl: string
  #generation = 0

  constructor(t: ExecutionContext) {
    this.directory = mkdtempSync(join(tmpdir(), 'cio-live-'))
    t.teardown(() => rmSync(this.directory, { recursive: true, force: true }))
    this.key = join(this.directory, 'tls.key')
    this.cert = join(this.directory, 'tls.crt')
    this.ca = join(this.directory, 'ca.crt')
    this.crl = join(this.directory, 'ca.crl')
  }

  /** Writes over the files that are there. */
  inPlace(name: string): void {
    writeFileSync(this.key, contents(`${name}.key`))
    writeFileSync(this.cert, contents(`${name}.crt`))
  }

  /** Puts other files in their place. */
  byRename(name: string): void {
    for (const [file, ending] of [
      [this.key, 'key'],
      [this.cert, 'crt'],
    ] as const) {
      copyFileSync(path(`${name}.${ending}`), `${file}.new`)
      renameSync(`${file}.new`, file)
    }
  }

  /** Lets the link to their directory point to another one, as Kubernetes does. */
  byLink(name: string): void {
    const generation = `..${++this.#generation}`
    mkdirSync(join(this.directory, generation))
    copyFileSync(path(`${name}.key`), join(this.directory, generation, 'tls.key'))
    copyFileSync(path(`${name}.crt`), join(this.directory, generation, 'tls.crt'))
    const link = join(this.directory, '..data')
    symlinkSync(generation, `${link}.new`)
    renameSync(`${link}.new`, link)
    if (this.#generation > 1) return
    symlinkSync('..data/tls.key', this.key)
    symlinkSync('..data/tls.crt', this.cert)
  }

  /** Puts a file of the test certificates in the place of one of these. */
  put(which: 'key' | 'cert' | 'ca' | 'crl', file: string): void {
    copyFileSync(path(file), `${this[which]}.new`)
    renameSync(`${this[which]}.new`, this[which])
  }
}

/** A client of Node's, with its handshake done. Destroyed with the test. */
export async function connectWith(
  t: ExecutionContext,
  { port }: { port: number },
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const ca = contents('root.crt')
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, ...options })
  t.teardown(() => socket.destroy())
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}

/** The common name of the certificate that a server presents. */
export async function presented(
  t: ExecutionContext,
  server: { port: number },
  options: ConnectionOptions = {},
): Promise<string> {
  const socket = await connectWith(t, server, options)
  const { CN } = socket.getPeerCertificate().subject
  socket.destroy()
  return String(CN)
}
