/** dig, in front of a name server on `frames({ length: 2 })`: DNS over TCP (RFC 1035, 4.2.2) and TLS. */

import test from 'ava'
import { Cio, frames } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const headerSize = 12

/** Answers a query for any name with 192.0.2.1, and so many bytes of text. */
function answer(query: Buffer, text = 0): Buffer {
  let end = headerSize
  while (query[end] !== 0) end += query[end]! + 1
  const question = query.subarray(headerSize, end + 5)
  const header = Buffer.from(query.subarray(0, headerSize))
  header.writeUInt16BE(0x8180, 2)
  const name = [0xc0, headerSize]
  const records = [Buffer.from([...name, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1])]
  for (let left = text; left > 0; left -= 255) {
    const length = Math.min(left, 255)
    const record = Buffer.from([...name, 0, 16, 0, 1, 0, 0, 0, 60, 0, 0, length])
    record.writeUInt16BE(length + 1, 10)
    records.push(record, Buffer.alloc(length, 'x'))
  }
  const count = 1 + Math.ceil(text / 255)
  for (const [at, value] of [
    [4, 1],
    [6, count],
    [8, 0],
    [10, 0],
  ] as const) {
    header.writeUInt16BE(value, at)
  }
  return Buffer.concat([header, question, ...records])
}

function server(text = 0) {
  let connections = 0
  const app = new Cio().useConnection(frames({ length: 2 })).useConnection(async (ctx) => {
    connections += 1
    for await (const query of ctx.messages) await ctx.messages.send(answer(query, text))
  })
  return { app, told: recordEvents(app), connections: () => connections }
}

const common = ['@127.0.0.1', '+time=10', '+tries=1', '+noedns']

test('dig gets its answers over one connection that stays', async (t) => {
  const { app, told, connections } = server()
  const { port } = await serve(t, app)
  const names = ['a.example', 'b.example', 'c.example']
  const words = [...common, '-p', String(port), '+tcp', '+keepopen', '+short', ...names]
  const { stdout, stderr } = await execute(t, 'dig', words)
  t.is(stdout, '192.0.2.1\n'.repeat(3), stderr)
  t.is(connections(), 1)
  t.deepEqual(told, nothing)
})

test('dig gets an answer of 60 kB, nearly as much as two bytes of length can say', async (t) => {
  const { app, told } = server(60_000)
  const { port } = await serve(t, app)
  const words = [...common, '-p', String(port), '+tcp', 'big.example']
  const { stdout, stderr } = await execute(t, 'dig', words)
  t.regex(stdout, /status: NOERROR/, stderr)
  const [, size] = /MSG SIZE {2}rcvd: (\d+)/.exec(stdout) ?? []
  t.true(Number(size) > 60_000)
  t.deepEqual(told, nothing)
})

test('dig over TLS verifies the server by its name', async (t) => {
  const { app, told } = server()
  const { port } = await serve(t, app, identity('server'))
  const tls = ['+tls', `+tls-ca=${path('root.crt')}`, '+tls-hostname=localhost']
  const words = [...common, '-p', String(port), ...tls, '+short', 'a.example']
  const { stdout, stderr } = await execute(t, 'dig', words)
  t.is(stdout, '192.0.2.1\n', stderr)
  t.deepEqual(told, nothing)
})
