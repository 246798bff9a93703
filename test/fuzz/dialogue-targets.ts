/** Parsers that answer what they read, and readers of files and names. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { socks5 } from '../../middleware/socks5.ts'
import { websocket } from '../../middleware/websocket.ts'
import { alternativeNamesOf } from '../../src/identity/alternative-names.ts'
import { RevocationList } from '../../src/identity/revocation-list.ts'
import { Cio, type StreamContext, isCioError, json, requests } from '../../src/index.ts'
import { replay } from '../../src/testing.ts'
import { decodeFrame } from '../../packages/cluster/src/wire/frames.ts'
import { decodeValue } from '../../packages/cluster/src/wire/values.ts'
import type { Target } from './engine.ts'
import { giving, hex, text } from './input.ts'

const maxLength = 4_096

/** The code of what a connection of an app reports, and what it writes. */
async function report(
  app: Cio,
  pieces: readonly Buffer[],
): Promise<{ code: string | undefined; written: Buffer }> {
  let code: string | undefined
  let local: unknown
  app.on('remoteError', (error) => (code = (error as NodeJS.ErrnoException).code))
  app.on('error', (error) => (local = error))
  const written: Buffer[] = []
  await app.handle(giving(pieces, written)).closed
  if (local) throw local
  return { code, written: Buffer.concat(written) }
}

const upgrade = (text: string): Buffer =>
  Buffer.concat([
    Buffer.from(
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    ),
    ...hex(text),
  ])

const recording = [
  { format: 'cio.record.1', peer: null },
  { at: 0, in: Buffer.from('hi\n').toString('base64') },
  { at: 1, out: Buffer.from('HI\n').toString('base64') },
  { at: 2, in: null },
  { end: { reason: 'served', by: 'local', step: 'echo' } },
]

export const dialogues: readonly Target[] = [
  {
    name: 'requests',
    seeds: text(
      '{"id":1,"text":"a"}\n{"id":2,"text":"b"}\n',
      '{"re":1,"text":"a"}\n',
      '[1]\nnull\n',
    ),
    async run(pieces) {
      interface Message {
        readonly id?: unknown
        readonly re?: number
      }
      const match = {
        idOf: (message: Message) => message?.re,
        withId: (message: Message, id: number) => ({ ...message, id }),
      }
      const app = new Cio().useConnection(json<Message>({ maxLength })).useConnection(
        requests<Message>({
          match,
          serve: (message) => ({ re: Number(message?.id ?? 0) }),
        }),
      )
      const { code, written } = await report(app, pieces)
      return { code, answers: written.toString().split('\n').toSorted() }
    },
  },
  {
    name: 'socks5',
    seeds: hex(
      '0500 05000001 7f000001 0050',
      '0502 0100 05000003 0161 0050',
      '05ff',
      '0500 05050001',
    ),
    async run(pieces) {
      const options = { host: 'proxy.test', port: 1, username: 'u', password: 'p' }
      const app = new Cio().useClient(socks5(options))
      app.on('error', () => {})
      app.on('remoteError', () => {})
      try {
        const createConnection = (): Duplex => giving(pieces)
        await app.connect({ host: 'a.test', port: 1, createConnection })
        return 'over'
      } catch (error) {
        return (error as NodeJS.ErrnoException).code
      } finally {
        await app.close({ timeout: 0 })
      }
    },
  },
  {
    name: 'websocket',
    seeds: [
      upgrade('8182 00000000 6869'),
      upgrade('0181 00000000 68 8081 00000000 69 8880 00000000'),
      upgrade('8980 00000000 8a80 00000000'),
    ],
    async run(pieces) {
      const received: Buffer[] = []
      let code: string | undefined
      const inner = new Cio().useConnection(async (ctx: StreamContext) => {
        for await (const chunk of ctx) received.push(chunk)
      })
      inner.on('remoteError', (error) => (code ??= (error as NodeJS.ErrnoException).code))
      const app = new Cio().useConnection(websocket(inner))
      await report(app, pieces)
      await inner.close({ timeout: 10_000 })
      // On an error, `ws` drops the messages before it or passes them on, as the turns fall.
      return code === undefined ? Buffer.concat(received).toString('hex') : code
    },
  },
  {
    name: 'record-file',
    seeds: [Buffer.from(recording.map((line) => JSON.stringify(line)).join('\n'))],
    async run(pieces) {
      const folder = await mkdtemp(join(tmpdir(), 'cio-fuzz-'))
      try {
        const file = join(folder, 'one.cio')
        await writeFile(file, Buffer.concat(pieces))
        const app = new Cio().useConnection(async function echo(ctx) {
          for await (const chunk of ctx) ctx.stream.write(chunk.toString().toUpperCase())
        })
        app.on('error', () => {})
        const { end, sent } = await replay(file, app, { timeout: 1 })
        return { reason: end.reason, sent: sent.toString('hex') }
      } catch (error) {
        // The file is of the operator: it is refused as an option.
        if (isCioError(error, 'ERR_CIO_OPTION')) return 'refused'
        throw error
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  },
  {
    name: 'alternative-names',
    seeds: hex(
      '300e 8206612e74657374 87047f000001',
      '300a 860575726e3a78 810161',
      '3008 a00306012a 820162',
    ),
    run(pieces) {
      try {
        return alternativeNamesOf(Buffer.concat(pieces))
      } catch {
        return 'refused'
      }
    },
  },
  {
    name: 'revocation-list',
    seeds: hex(
      '3040 303a 020101 3005 06032b6570 300f310d300b06035504030c046e616d65 170d3236303130313030303030305a 3014 3012 020105 170d3236303130313030303030305a',
    ),
    run(pieces) {
      const base64 = Buffer.concat(pieces).toString('base64')
      try {
        const pem = `-----BEGIN X509 CRL-----\n${base64}\n-----END X509 CRL-----\n`
        return new RevocationList([pem]) instanceof RevocationList
      } catch (error) {
        if (error instanceof RangeError || error instanceof TypeError) throw error
        return (error as Error).message
      }
    },
  },
  {
    name: 'cluster-frame',
    seeds: [
      ...hex('01 00000011 7b226b696e64223a2263616c6c222c2278 227d 0178'),
      Buffer.from('\u0001\u0000\u0000\u0000\u000f{"kind":"send"}\u0003{"$":"bytes","v":"aGk="}'),
      Buffer.from('\u0001\u0000\u0000\u0000\u000f{"kind":"send"}\u0003[{"$":"bigint","v":"12"}]'),
    ],
    run(pieces) {
      const frame = decodeFrame(Buffer.concat(pieces))
      if (!frame) return undefined
      try {
        return { header: frame.header, value: decodeValue(frame.body) }
      } catch (error) {
        // Another instance is no peer of a connection.
        if (isCioError(error, 'ERR_CIO_SYNTAX')) return error.code
        throw error
      }
    },
    hold: (bytes) => decodeFrame(bytes),
  },
]
