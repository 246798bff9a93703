/** psql, in front of a server that speaks enough of PostgreSQL to answer queries. */

import test from 'ava'
import { Cio, startTls } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute } from './programs.ts'
import { type PostgresMessage, postgres, row, sslRequest, strings } from './postgres-messages.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const ready: PostgresMessage = { type: 'Z', body: Buffer.from('I') }

/** One column of text, with this name. */
const column = (name: string): PostgresMessage => {
  const rest = Buffer.alloc(18)
  rest.writeInt32BE(25, 6)
  rest.writeInt16BE(-1, 10)
  rest.writeInt32BE(-1, 12)
  return { type: 'T', body: Buffer.concat([Buffer.from([0, 1]), strings(name), rest]) }
}

const greeting: PostgresMessage[] = [
  { type: 'R', body: Buffer.alloc(4) },
  ...[
    ['server_version', '15.0'],
    ['client_encoding', 'UTF8'],
    ['standard_conforming_strings', 'on'],
  ].map(([name = '', value = '']) => ({ type: 'S', body: strings(name, value) })),
  { type: 'K', body: Buffer.alloc(8) },
  ready,
]

/** `rows N` gives so many rows, `fail` an error, all else itself. */
function answer(sql: string): PostgresMessage[] {
  if (sql === 'fail') {
    const fields = strings('SERROR', 'C42601', 'Mno such query', '')
    return [{ type: 'E', body: fields }, ready]
  }
  const [, count] = /^rows (\d+)$/.exec(sql) ?? []
  const rows = count ? Array.from({ length: Number(count) }, (_, n) => row(`row ${n}`)) : [row(sql)]
  return [column('text'), ...rows, { type: 'C', body: strings(`SELECT ${rows.length}`) }, ready]
}

function server() {
  const users: string[] = []
  const app = new Cio()
    .useConnection(startTls())
    .useConnection(postgres('server'))
    .useConnection(async (ctx) => {
      const { messages } = ctx
      for await (const { type, body } of messages) {
        if (type === 'X') return
        else if (type === 'Q')
          await messages.sendMany(answer(body.toString('utf8', 0, body.length - 1)))
        else if (type === undefined && body.readInt32BE(0) === sslRequest) {
          await ctx.startTls(() => messages.send(Buffer.from('S')))
        } else {
          const [, user = ''] = /user\0([^\0]*)\0/.exec(String(body)) ?? []
          users.push(`${user} ${ctx.peer?.name ?? 'nobody'}`)
          await messages.sendMany(greeting)
        }
      }
    })
  return { app, users, told: recordEvents(app) }
}

const psql = ['-X', '-A', '-t', '-q', '-v', 'VERBOSITY=verbose']
const of = (port: number, more: string): string =>
  `host=localhost hostaddr=127.0.0.1 port=${port} user=ann dbname=test gssencmode=disable ${more}`

test('psql gets its rows, many and long ones too, and an error of its query', async (t) => {
  const { app, users, told } = server()
  const { port } = await serve(t, app, identity('server'))
  const at = of(port, 'sslmode=disable')
  const long = `select ${'ü'.repeat(50_000)}`
  for (const [sql, expected] of [
    ['select 1', 'select 1\n'],
    ['rows 5000', Array.from({ length: 5_000 }, (_, n) => `row ${n}\n`).join('')],
  ] as const) {
    const { stdout, stderr } = await execute(t, 'psql', [...psql, '-c', sql, at])
    t.is(stdout, expected, stderr)
  }
  const { stdout } = await execute(t, 'psql', [...psql, at], { input: `${long};` })
  t.is(Buffer.from(stdout, 'latin1').toString(), `${long};\n`)
  const failed = await execute(t, 'psql', [...psql, '-c', 'fail', at])
  t.is(failed.code, 1)
  t.regex(failed.stderr, /42601: no such query/)
  t.deepEqual(
    users,
    Array.from({ length: 4 }, () => 'ann nobody'),
  )
  t.deepEqual(told, nothing)
})

test('psql asks for TLS, verifies the server, and is known by its certificate', async (t) => {
  const { app, users, told } = server()
  const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  const { port } = await serve(t, app, mutual)
  const tls = `sslmode=verify-full sslrootcert=${path('root.crt')}`
  const alice = `sslcert=${path('alice.crt')} sslkey=${path('alice.key')}`
  const words = [...psql, '-c', 'select 1', of(port, `${tls} ${alice}`)]
  const { stdout, stderr } = await execute(t, 'psql', words)
  t.is(stdout, 'select 1\n', stderr)
  t.deepEqual(users, ['ann alice'])
  t.deepEqual(told, nothing)
})
