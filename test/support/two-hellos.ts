/**
 * A TLS 1.3 client that may ask for one name in its first ClientHello and for another in its second.
 * It offers no key share at first, so every server answers with a HelloRetryRequest. Just enough of
 * RFC 8446 for that: X25519, AES-128-GCM, and a certificate on P-256.
 */

import {
  type KeyObject,
  X509Certificate,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
  sign,
} from 'node:crypto'
import type { Socket } from 'node:net'
import { loaded } from './certificates.ts'

/** What a ClientHello asks for. */
export interface Asks {
  readonly name?: string
  readonly alpn?: string
}

const number = (value: number, size: number): Buffer => {
  const bytes = Buffer.alloc(size)
  bytes.writeUIntBE(value, 0, size)
  return bytes
}
const vector = (size: number, ...parts: readonly Buffer[]): Buffer => {
  const content = Buffer.concat(parts)
  return Buffer.concat([number(content.length, size), content])
}
const message = (type: number, ...parts: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.from([type]), vector(3, ...parts)])
const hash = (...parts: readonly Buffer[]): Buffer =>
  createHash('sha256').update(Buffer.concat(parts)).digest()
const mac = (key: Buffer, data: Buffer): Buffer => createHmac('sha256', key).update(data).digest()

function expand(secret: Buffer, label: string, context: Buffer, length: number): Buffer {
  const info = Buffer.concat([
    number(length, 2),
    vector(1, Buffer.from(`tls13 ${label}`)),
    vector(1, context),
  ])
  return mac(secret, Buffer.concat([info, Buffer.from([1])])).subarray(0, length)
}

const x25519 = 0x001d
const spkiOfX25519 = Buffer.from('302a300506032b656e032100', 'hex')

/** Sends and receives records, encrypted once there are keys. */
class Records {
  readonly #socket: Socket
  #input: Buffer = Buffer.alloc(0)
  #messages: Buffer = Buffer.alloc(0)
  #keys: { readonly read: Buffer; readonly write: Buffer } | undefined
  #received = 0
  #sent = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  encrypt(read: Buffer, write: Buffer): void {
    this.#keys = { read, write }
  }

  send(content: Buffer): void {
    if (!this.#keys) {
      this.#socket.write(Buffer.concat([Buffer.from('160301', 'hex'), vector(2, content)]))
      return
    }
    const header = Buffer.concat([Buffer.from('170303', 'hex'), number(content.length + 17, 2)])
    const [key, nonce] = keyOf(this.#keys.write, this.#sent++)
    const cipher = createCipheriv('aes-128-gcm', key, nonce).setAAD(header)
    const sealed = Buffer.concat([
      cipher.update(Buffer.concat([content, Buffer.from([0x16])])),
      cipher.final(),
    ])
    this.#socket.write(Buffer.concat([header, sealed, cipher.getAuthTag()]))
  }

  /** The next handshake message. */
  async receive(): Promise<Buffer> {
    for (;;) {
      const length = this.#messages.length < 4 ? Infinity : 4 + this.#messages.readUIntBE(1, 3)
      if (this.#messages.length >= length) {
        const whole = this.#messages.subarray(0, length)
        this.#messages = this.#messages.subarray(length)
        return whole
      }
      const [type, content] = await this.#record()
      if (type === 0x16) this.#messages = Buffer.concat([this.#messages, content])
      else if (type !== 0x14)
        throw new Error(`the server sent an alert: ${content.toString('hex')}`)
    }
  }

  async #record(): Promise<[type: number, content: Buffer]> {
    const header = await this.#take(5)
    const content = await this.#take(header.readUInt16BE(3))
    if (header[0] !== 0x17 || !this.#keys) return [header[0]!, content]
    const [key, nonce] = keyOf(this.#keys.read, this.#received++)
    const decipher = createDecipheriv('aes-128-gcm', key, nonce).setAAD(header)
    decipher.setAuthTag(content.subarray(-16))
    const plain = Buffer.concat([decipher.update(content.subarray(0, -16)), decipher.final()])
    return [plain.at(-1)!, plain.subarray(0, -1)]
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#input.length < length) {
      const chunk = this.#socket.read() as Buffer | null
      if (chunk) this.#input = Buffer.concat([this.#input, chunk])
      else if (this.#socket.destroyed || this.#socket.readableEnded) throw new Error('it hung up')
      else {
        await new Promise<void>((resolve) => {
          const settle = (): void => {
            for (const event of ['readable', 'close', 'end']) this.#socket.off(event, settle)
            resolve()
          }
          for (const event of ['readable', 'close', 'end']) this.#socket.on(event, settle)
        })
      }
    }
    const taken = this.#input.subarray(0, length)
    this.#input = this.#input.subarray(length)
    return taken
  }
}

function keyOf(secret: Buffer, count: number): [key: Buffer, nonce: Buffer] {
  const nonce = Buffer.from(expand(secret, 'iv', Buffer.alloc(0), 12))
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ count) >>> 0, 8)
  return [expand(secret, 'key', Buffer.alloc(0), 16), nonce]
}

/** Does the handshake, with the certificate of a name; fulfils when its own last message is sent. */
export async function shakeTwice(
  socket: Socket,
  first: Asks,
  second: Asks,
  identity: string,
): Promise<void> {
  const records = new Records(socket)
  const own = generateKeyPairSync('x25519')
  const random = randomBytes(32)
  const session = randomBytes(32)
  const share = own.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  const hello = ({ name, alpn }: Asks, shares: Buffer): Buffer => {
    const extension = (type: number, content: Buffer): Buffer =>
      Buffer.concat([number(type, 2), vector(2, content)])
    return message(
      1,
      Buffer.from('0303', 'hex'),
      random,
      vector(1, session),
      vector(2, number(0x1301, 2)),
      Buffer.from('0100', 'hex'),
      vector(
        2,
        ...(name === undefined
          ? []
          : [extension(0, vector(2, Buffer.from([0]), vector(2, Buffer.from(name))))]),
        ...(alpn === undefined ? [] : [extension(16, vector(2, vector(1, Buffer.from(alpn))))]),
        extension(10, vector(2, number(x25519, 2))),
        extension(13, vector(2, Buffer.from('040308040401', 'hex'))),
        extension(43, vector(1, number(0x0304, 2))),
        extension(51, vector(2, shares)),
      ),
    )
  }
  const firstHello = hello(first, Buffer.alloc(0))
  records.send(firstHello)
  const retry = await records.receive()
  const secondHello = hello(second, Buffer.concat([number(x25519, 2), vector(2, share)]))
  records.send(secondHello)
  const serverHello = await records.receive()
  const said = [message(254, hash(firstHello)), retry, secondHello, serverHello]

  const theirShare = serverHello.indexOf(Buffer.from('001d0020', 'hex')) + 4
  const publicKey = createPublicKey({
    key: Buffer.concat([spkiOfX25519, serverHello.subarray(theirShare, theirShare + 32)]),
    format: 'der',
    type: 'spki',
  })
  const none = Buffer.alloc(32)
  const early = mac(none, none)
  const secret = mac(
    expand(early, 'derived', hash(), 32),
    diffieHellman({ privateKey: own.privateKey, publicKey }),
  )
  const write = expand(secret, 'c hs traffic', hash(...said), 32)
  records.encrypt(expand(secret, 's hs traffic', hash(...said), 32), write)

  const send = (type: number, ...parts: readonly Buffer[]): void => {
    const whole = message(type, ...parts)
    said.push(whole)
    records.send(whole)
  }
  let asked = false
  for (let type = 0; type !== 20;) {
    const next = await records.receive()
    type = next[0]!
    asked ||= type === 13
    said.push(next)
  }
  if (asked) {
    const { key, cert } = loaded(identity)
    const certificate = new X509Certificate(cert).raw
    send(11, vector(1), vector(3, vector(3, certificate), vector(2)))
    send(15, number(0x0403, 2), vector(2, proofOf(createPrivateKey(key), hash(...said))))
  }
  send(20, mac(expand(write, 'finished', Buffer.alloc(0), 32), hash(...said)))
}

function proofOf(key: KeyObject, transcript: Buffer): Buffer {
  const label = Buffer.from('TLS 1.3, client CertificateVerify\0')
  return sign('sha256', Buffer.concat([Buffer.alloc(64, 0x20), label, transcript]), key)
}
