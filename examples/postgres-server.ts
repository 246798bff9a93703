// npx tsx examples/certificates.ts certs ann && npx tsx examples/postgres-server.ts
//
// Speaks enough of the PostgreSQL protocol to show the state of a server in psql, to clients with a
// certificate: `psql 'host=localhost port=7024 sslmode=verify-full sslrootcert=certs/ca.crt
// sslcert=certs/ann.crt sslkey=certs/ann.key' -c connections`.

import { Cio, certs, frames, startTls } from '../src/index.ts'
import { Peek } from '../src/kit.ts'

const sslRequest = 80_877_103

/** A message: its type, and a length that counts itself. */
function message(type: string, ...parts: (string | Buffer)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  const head = Buffer.from(`${type}\0\0\0\0`)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const int16 = (value: number): Buffer => Buffer.of(value >> 8, value)
const int32 = (value: number): Buffer => Buffer.of(value >> 24, value >> 16, value >> 8, value)
const ready = message('Z', 'I')

const failure = (severity: string, code: string, text: string): Buffer =>
  message('E', `S${severity}\0C${code}\0M${text}\0\0`)

/** A table of texts. */
function table(columns: readonly string[], rows: readonly string[][]): Buffer[] {
  // A column without a table, of the type text, whose values are sent as text.
  const kind = [int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)]
  const names = columns.flatMap((name) => [`${name}\0`, ...kind])
  return [
    message('T', int16(columns.length), ...names),
    ...rows.map((row) => {
      const values = row.flatMap((text) => [int32(Buffer.byteLength(text)), text])
      return message('D', int16(row.length), ...values)
    }),
    message('C', `SELECT ${rows.length}\0`),
  ]
}

function answer(query: string): Buffer[] {
  if (!/^connections;?$/i.test(query.trim())) {
    return [failure('ERROR', '42601', 'there is only: connections')]
  }
  const rows = [...server.connections].map((ctx) => [ctx.remote, ctx.peer?.name ?? ''])
  return table(['remote', 'name'], rows)
}

const app = new Cio()
  .useServer(certs({ key: 'certs/server.key', cert: 'certs/server.crt', ca: 'certs/ca.crt' }))
  .useConnection(startTls())
  .useConnection(async function askForTls(ctx, next) {
    // A client asks for TLS in 8 bytes, and gets one byte; then its handshake follows.
    const peek = new Peek(ctx.stream, { maxSize: 8, timeout: 10_000 })
    while (await peek.more());
    peek.release()
    if (peek.bytes.length < 8 || peek.bytes.readInt32BE(4) !== sslRequest) {
      ctx.stream.write(failure('FATAL', '28000', 'TLS is required'))
      return
    }
    ctx.stream.read(8)
    await ctx.startTls(() => ctx.stream.write('S'))
    await next()
  })
  .useConnection(
    frames({
      // The first message has no type, and is shorter than 64 kB.
      oneOf: [
        { start: '\0\0', length: { bytes: 2, counts: 'frame' }, whole: true },
        { length: { bytes: 4, at: 1, counts: 'frame', plus: 1 }, whole: true },
      ],
      maxLength: 64 * 1024,
    }),
  )
  .useConnection(async function session({ messages }) {
    for await (const frame of messages) {
      const type = frame.toString('latin1', 0, 1)
      const query = frame.toString('utf8', 5, frame.length - 1)
      if (type === 'X') return
      if (type === '\0') await messages.sendMany([message('R', int32(0)), ready])
      else if (type === 'Q') await messages.sendMany([...answer(query), ready])
      // A query with parameters is several messages up to a Sync, and has one answer.
      else if (type === 'P') await messages.send(failure('ERROR', '0A000', 'only simple queries'))
      else if (type === 'S') await messages.send(ready)
    }
  })
app.on('reject', (error) => console.log(error.message))
app.on('remoteError', (error) => console.info(error.message))

const server = await app.listen(process.env.PORT ?? 7024)
console.log(`PostgreSQL on port ${server.port}`)
