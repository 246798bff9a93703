/** The parsers of what comes from a peer. */

import { Encoder } from 'cbor-x'
import { Duplex } from 'node:stream'
import { StructSchema } from '@bufbuild/protobuf/wkt'
import { Packr } from 'msgpackr'
import { cbor } from '../../middleware/cbor.ts'
import { protobuf } from '../../middleware/protobuf.ts'
import { jsonStream } from '../../middleware/json-stream.ts'
import { msgpack } from '../../middleware/msgpack.ts'
import { OpeningReader, writeOpening } from '../../middleware/multiplex/stream-header.ts'
import { Frames, writeHeader } from '../../middleware/multiplex/wire.ts'
import { HeaderReader } from '../../middleware/proxy-protocol/header-reader.ts'
import { ClientHelloReader } from '../../middleware/route/client-hello.ts'
import { children, nameOf } from '../../src/identity/der.ts'
import {
  Cio,
  type Middleware,
  type MessagesContext,
  type StreamContext,
  contentLength,
  frames,
  httpConnect,
  json,
  lines,
  rpc,
} from '../../src/index.ts'
import { receiveHere } from '../support/receive.ts'
import { dialogues } from './dialogue-targets.ts'
import type { Target } from './engine.ts'
import { anyFrames } from './frame-targets.ts'
import { giving, hex, text } from './input.ts'

const maxLength = 4_096

/** A codec, with messages of at most 4 KiB. */
function ofCodec(
  name: string,
  make: (options: {
    maxLength: number
  }) => Middleware<StreamContext, MessagesContext<unknown, never>>,
  seeds: readonly Buffer[],
): Target {
  return {
    name,
    seeds,
    async run(pieces) {
      const { messages, error } = await receiveHere(make({ maxLength }), pieces)
      return { messages, code: error?.code, fault: error?.fault }
    },
    hold(bytes) {
      const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
      stream.push(bytes)
      const app = new Cio().useConnection(make({ maxLength }))
      app.useConnection(async (ctx) => {
        for await (const _ of (ctx as unknown as MessagesContext<unknown>).messages) continue
      })
      app.on('remoteError', () => {})
      return app.handle(stream)
    },
  }
}

const values: readonly unknown[] = [
  { a: 1, b: [true, null, 'text'], c: { d: -1.5 } },
  [1, [2, [3, 'é☃']], {}],
  new Date(1_234_567_000),
  new Set([1, 70_000, 'x']),
  new Map<unknown, unknown>([
    [1, 2],
    ['k', { v: 1 }],
  ]),
  Buffer.from('bytes'),
  2n ** 70n,
  { list: Array.from({ length: 30 }, (_, id) => ({ id, name: `n${id}` })) },
]
const encoded = (encode: (value: unknown) => Uint8Array): Buffer[] =>
  values.map((value) => Buffer.from(encode(value)))

const plainCbor = new Encoder({ useRecords: false, structuredClone: true })
const recordsCbor = new Encoder({ sequential: true })
const plainMsgpack = new Packr({ useRecords: false, moreTypes: true, useBigIntExtension: true })
const recordsMsgpack = new Packr({ sequential: true, moreTypes: true, useBigIntExtension: true })
const jsonTexts = values.slice(0, 3).map((value) => JSON.stringify(value))

const xor8 = (bytes: Uint8Array): number => bytes.reduce((sum, byte) => sum ^ byte, 0)
const marked = {
  start: '<',
  length: 1,
  checksum: { of: xor8, bytes: 1, over: 'body' },
  end: '>',
} as const

const codecs: readonly Target[] = [
  ofCodec('lines', lines as never, text('one\ntwo\r\n\n', 'é☃\n', '\r\n\r\n')),
  ofCodec('json', json as never, text(...jsonTexts.map((one) => `${one}\n`), '\ufeff1\n\n')),
  ofCodec(
    'json-stream',
    jsonStream as never,
    text(...jsonTexts, '1 2 "a\\u0041\\ud83d\\ude00"\ufeff'),
  ),
  ofCodec(
    'content-length',
    contentLength as never,
    text(...jsonTexts.map((one) => `Content-Length: ${Buffer.byteLength(one)}\r\n\r\n${one}`)),
  ),
  ofCodec('frames', frames as never, hex('00000002 6162', '00000000', '47455420')),
  ofCodec(
    'frames-varint',
    ((options: object) => frames({ ...options, length: 'varint' })) as never,
    hex('026162', '00', '8001' + '61'.repeat(128)),
  ),
  ofCodec(
    'frames-delimiter',
    ((options: object) => frames({ ...options, delimiter: '\r\n' })) as never,
    text('a\r\n', '\r\r\n', '\n\r\n'),
  ),
  ofCodec(
    'frames-marked',
    ((options: object) => frames({ ...options, ...marked })) as never,
    hex('3c 03 6869 01 3e', '3c 01 00 3e', '3c03686902 3e'),
  ),
  ofCodec(
    'frames-digits',
    ((options: object) =>
      frames({
        ...options,
        length: { as: 'decimal', until: ':', counts: 'body' },
        end: ',',
      })) as never,
    text('2:hi,', '0:,', '12:hello world!,'),
  ),
  ofCodec(
    'frames-resync',
    ((options: object) => frames({ ...options, ...marked, resync: true })) as never,
    hex('3c 03 6869 01 3e', '3c 01 00 3e', '3c ff 3c 03 6869 01 3e', '3c03686902 3e'),
  ),
  ofCodec(
    'frames-stuffing',
    ((options: object) =>
      frames({ ...options, stuffing: 'hdlc', checksum: { of: xor8, bytes: 1 } })) as never,
    hex('7e 6869 01 7e', '7e 7d5e 7e', '7e 00 00 7e'),
  ),
  ofCodec(
    'frames-stuffing-resync',
    ((options: object) =>
      frames({
        ...options,
        stuffing: 'slip',
        checksum: { of: xor8, bytes: 1 },
        resync: true,
      })) as never,
    hex('c0 6869 01 c0', 'c0 dbdc c0 c0', 'c0 00 00 c0', 'c0 dbc0'),
  ),
  ofCodec(
    'frames-cobs',
    ((options: object) => frames({ ...options, stuffing: 'cobs' })) as never,
    hex('010100', '0311220233 00', '05 11 00'),
  ),
  ofCodec(
    'frames-dle',
    ((options: object) => frames({ ...options, stuffing: 'dle', resync: true })) as never,
    hex('1002 41 1010 42 1003', '1002 1003', '1002 10 41'),
  ),
  ofCodec(
    'frames-one-of',
    ((options: object) =>
      frames({
        ...options,
        oneOf: [marked, { start: 'ab', size: 4 }, { delimiter: '\n' }],
      })) as never,
    hex('3c 03 6869 01 3e', '61626364', '6869 0a', '61 0a'),
  ),
  ofCodec(
    'protobuf',
    ((options: object) => protobuf(StructSchema, options)) as never,
    hex('0a 0a080a01611203 1a0162', '00', '0c 0a0a0a01611205 320312 0118'),
  ),
  ofCodec(
    'cbor',
    cbor as never,
    encoded((value) => plainCbor.encode(value)),
  ),
  ofCodec(
    'cbor-all',
    ((options: object) =>
      cbor({ ...options, structuredClone: true, mapsAsObjects: false })) as never,
    [...encoded((value) => plainCbor.encode(value)), ...hex('d81c 82 d81d00 01', 'd81c d90102 80')],
  ),
  ofCodec('cbor-records', ((options: object) => cbor({ ...options, useRecords: true })) as never, [
    Buffer.concat(encoded((value) => recordsCbor.encode(value))),
    ...hex('d9dfff8319e00081616101'),
  ]),
  ofCodec(
    'msgpack',
    ((options: object) => msgpack({ ...options, useRecords: false })) as never,
    encoded((value) => plainMsgpack.pack(value)),
  ),
  ofCodec(
    'msgpack-records',
    ((options: object) =>
      msgpack({
        ...options,
        moreTypes: true,
        structuredClone: true,
        mapsAsObjects: false,
      })) as never,
    [
      Buffer.concat(encoded((value) => recordsMsgpack.pack(value))),
      ...hex('d4724091a16101', 'd4724090'),
    ],
  ),
]

const hello = (servername: string): Buffer => {
  const name = Buffer.from(servername)
  const entry = Buffer.concat([Buffer.of(0, 0, name.length), name])
  const list = Buffer.concat([Buffer.of(0, entry.length), entry])
  const extension = Buffer.concat([Buffer.of(0, 0, 0, list.length), list])
  const body = Buffer.concat([
    Buffer.of(3, 3),
    Buffer.alloc(32, 7),
    Buffer.of(0, 0, 2, 0x13, 1, 1, 0, 0, extension.length),
    extension,
  ])
  const message = Buffer.concat([Buffer.of(1, 0, 0, body.length), body])
  return Buffer.concat([Buffer.of(0x16, 3, 1, 0, message.length), message])
}

const muxFrame = (type: number, flags: number, id: number, payload: Buffer): Buffer => {
  const header = Buffer.alloc(12)
  writeHeader(header, 0, type, flags, id, payload.length)
  return Buffer.concat([header, payload])
}

const parsers: readonly Target[] = [
  {
    name: 'client-hello',
    seeds: [hello('example.com'), ...hex('160301000501000001ff', '1603010000')],
    run(pieces) {
      const reader = new ClientHelloReader()
      let bytes: Buffer = Buffer.alloc(0)
      for (const piece of pieces) {
        bytes = Buffer.concat([bytes, piece])
        const read = reader.read(bytes)
        if (read !== undefined) return read
      }
      return undefined
    },
  },
  {
    name: 'proxy-header',
    seeds: [
      ...text('PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n', 'PROXY UNKNOWN\r\n'),
      ...hex(
        '0d0a0d0a000d0a515549540a 2111 000c 01020304 05060708 0009 000a',
        '0d0a0d0a000d0a515549540a 20000000',
      ),
    ],
    run(pieces) {
      const gathering = new HeaderReader(512)
      for (const piece of pieces) {
        const gathered = gathering.take(piece)
        if (gathered) return gathered.proxied
      }
      return undefined
    },
  },
  {
    name: 'multiplex-wire',
    seeds: [
      muxFrame(0, 1, 1, Buffer.from('payload')),
      muxFrame(1, 0, 1, Buffer.alloc(0)),
      muxFrame(2, 1, 0, Buffer.alloc(0)),
    ],
    run(pieces) {
      const seen: unknown[] = []
      let payload: Buffer[] = []
      const wire = new Frames({
        frame: (header) => void seen.push({ ...header }),
        piece: (_id, bytes) => void payload.push(Buffer.from(bytes)),
        done() {
          seen.push(Buffer.concat(payload).toString('hex'))
          payload = []
        },
      })
      for (const piece of pieces) wire.take(piece)
      return seen
    },
  },
  {
    name: 'multiplex-opening',
    seeds: [writeOpening({ name: 'log', headers: { a: 'b' } }, 1_000)],
    run(pieces) {
      const reader = new OpeningReader(1_000)
      for (const piece of pieces) {
        const opened = reader.take(piece)
        if (opened) return opened === 'too long' ? opened : { ...opened, rest: undefined }
      }
      return undefined
    },
  },
  {
    name: 'der',
    seeds: hex('300f 310d 300b 0603550403 0c04 6e616d65', '3003 020105', '1e02 0041'),
    run(pieces) {
      const der = Buffer.concat(pieces)
      try {
        return children(der).map((child) => [child, nameOf(der, child)])
      } catch (error) {
        // What is cut off is said to be, by an error of its own.
        if (error instanceof RangeError) throw error
        return (error as Error).message
      }
    },
  },
  {
    name: 'http-connect',
    seeds: text(
      'HTTP/1.1 200 OK\r\n\r\n',
      'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n',
      'HTTP/1.0 502 Bad\r\nContent-Length: 2\r\n\r\nno',
    ),
    async run(pieces) {
      const app = new Cio().useClient(httpConnect({ host: 'proxy.test', port: 1 }))
      app.on('error', () => {})
      app.on('remoteError', () => {})
      try {
        const createConnection = (): Duplex => giving(pieces)
        const ctx = await app.connect({ host: 'a.test', port: 1, createConnection })
        return 'connected' + String(ctx.encrypted)
      } catch (error) {
        return (error as NodeJS.ErrnoException).code
      } finally {
        await app.close({ timeout: 0 })
      }
    },
  },
  {
    name: 'rpc',
    seeds: text(
      '{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}\n',
      '[{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]},{"jsonrpc":"2.0","method":"add"}]\n',
      '[1,{"id":null},{"jsonrpc":"2.0","id":"a","result":1}]\n',
    ),
    async run(pieces) {
      const methods = { add: (params: unknown) => JSON.stringify(params)?.length ?? 0 }
      const app = new Cio().useConnection(json({ maxLength })).useConnection(rpc({ methods }))
      let code: string | undefined
      app.on('remoteError', (error) => (code = (error as NodeJS.ErrnoException).code))
      let local: unknown
      app.on('error', (error) => (local = error))
      const written: Buffer[] = []
      await app.handle(giving(pieces, written)).closed
      if (local) throw local
      return { code, answers: Buffer.concat(written).toString().split('\n').toSorted() }
    },
  },
]

/** All of them. */
export const targets: readonly Target[] = [...codecs, anyFrames, ...parsers, ...dialogues]
