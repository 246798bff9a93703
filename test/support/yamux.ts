/** The far end of `multiplex`, by hand: it can do what no library does. */

import { EventEmitter, once } from 'node:events'
import type { Duplex } from 'node:stream'

/** A frame; its length is that of the payload, if there is one. */
export interface Frame {
  readonly version?: number
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly length?: number
  readonly payload?: Buffer
}

const headerSize = 12

/** The bytes of a frame. */
export function frame({ version = 0, type, flags, id, length, payload }: Frame): Buffer {
  const header = Buffer.alloc(headerSize)
  header.writeUInt8(version, 0)
  header.writeUInt8(type, 1)
  header.writeUInt16BE(flags, 2)
  header.writeUInt32BE(id, 4)
  header.writeUInt32BE(payload?.length ?? length ?? 0, 8)
  return payload ? Buffer.concat([header, payload]) : header
}

/** The frame by which a stream says its name and headers. */
export function opening(id: number, name: string, headers: Record<string, string> = {}): Frame {
  const json = Buffer.from(JSON.stringify([name, headers]))
  const length = Buffer.alloc(2)
  length.writeUInt16BE(json.length)
  return { type: 0, flags: 0, id, payload: Buffer.concat([length, json]) }
}

/** Sends frames, and keeps those that come. */
export class Peer extends EventEmitter {
  readonly frames: Required<Frame>[] = []
  readonly #stream: Duplex
  #buffer = Buffer.alloc(0)

  constructor(stream: Duplex) {
    super()
    this.#stream = stream
    stream.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk])
      while (this.#cut()) this.emit('frame')
    })
  }

  send(one: Frame): void {
    this.write(frame(one))
  }

  write(bytes: Buffer): boolean {
    return this.#stream.destroyed || this.#stream.write(bytes)
  }

  /** Fulfils when all that was sent before has been taken. */
  async ping(): Promise<void> {
    const id = 0xabcdef
    this.send({ type: 2, flags: 1, id: 0, length: id })
    await this.until((one) => one.type === 2 && one.flags === 2 && one.length === id)
  }

  /** What came for a stream, once it has ended. */
  async textOf(id: number): Promise<string> {
    await this.until((one) => one.id === id && (one.flags & 4) !== 0)
    const payloads = this.frames.filter((one) => one.id === id && one.type === 0)
    return Buffer.concat(payloads.map(({ payload }) => payload)).toString()
  }

  async until(holds: (one: Frame) => boolean): Promise<void> {
    while (!this.frames.some(holds)) await once(this, 'frame')
  }

  #cut(): boolean {
    const buffer = this.#buffer
    if (buffer.length < headerSize) return false
    const type = buffer.readUInt8(1)
    const length = buffer.readUInt32BE(8)
    const end = headerSize + (type === 0 ? length : 0)
    if (buffer.length < end) return false
    this.frames.push({
      version: buffer.readUInt8(0),
      type,
      flags: buffer.readUInt16BE(2),
      id: buffer.readUInt32BE(4),
      length,
      payload: buffer.subarray(headerSize, end),
    })
    this.#buffer = buffer.subarray(end)
    return true
  }
}
