/**
 * A client that sends what it has, closes its writing side and waits for the answer, as programs
 * fed from a pipe do. If this fails, such clients get half an answer, or none: Node destroys a
 * socket when its reader has come to the end (`autoDestroy`, and its own async iterator), over TCP
 * and TLS alike, and the late reply goes nowhere. So streams are half-open here, and the loop over
 * `ctx` leaves its stream open.
 *
 * `openssl s_client` cannot half-close. At the end of its input it sends close_notify and FIN, and
 * then reads for half a second what it throws away; with `-quiet` or `-ign_eof` it stays and sends
 * nothing at all, so that the server never hears of the end. The invocation that gets an answer is
 * the second, and the answer has to come before the end.
 */

import test, { type ExecutionContext } from 'ava'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Cio } from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { closeAfter, readAll, serve } from '../support/serve.ts'
import { nextEvent, networks, open, socketPath } from '../support/transports.ts'

const big = 16 * 1024 * 1024

/** Answers, after the peer's end and a pause, with a line and very much behind it. */
function late(t: ExecutionContext): Cio {
  const app = new Cio().useConnection(async (ctx) => {
    let size = 0
    for await (const chunk of ctx) size += chunk.length
    await new Promise((resolve) => setTimeout(resolve, 100))
    ctx.stream.write(`got ${size}\n`)
    ctx.stream.write(Buffer.alloc(big, 'x'))
  })
  for (const event of ['error', 'remoteError'] as const) {
    app.on(event, (error: Error) => t.fail(`${event}: ${error.message}`))
  }
  return app
}

interface Result {
  readonly code: number | null
  readonly output: string
}

/** Runs a program that is fed from a pipe. */
async function fed(
  t: ExecutionContext,
  input: string,
  program: string,
  ...parameters: string[]
): Promise<Result> {
  const child: ChildProcess = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'ignore'] })
  t.teardown(() => child.kill())
  const exit = once(child, 'exit')
  child.stdin!.end(input)
  const output = await readAll(child.stdout!)
  const [code] = (await exit) as [number | null]
  return { code, output }
}

function check(t: ExecutionContext, { code, output }: Result, size: number): void {
  t.is(code, 0)
  t.true(output.startsWith(`got ${size}\n`), output.slice(0, 40))
  t.is(output.length, `got ${size}\n`.length + big)
}

// How long socat waits, once one side has ended, for the other: half a second by itself.
const patience = ['-t', '20']

test('socat fed from a pipe gets the whole late answer over TCP', async (t) => {
  const { port } = await serve(t, late(t))
  check(t, await fed(t, 'hello', 'socat', ...patience, '-', `TCP:127.0.0.1:${port}`), 5)
})

test('socat fed from a pipe gets the whole late answer over a Unix socket', async (t) => {
  const app = late(t)
  closeAfter(t, app)
  const path = socketPath(t)
  await app.listen(path)
  check(t, await fed(t, 'hello', 'socat', ...patience, '-', `UNIX-CONNECT:${path}`), 5)
})

for (const version of ['TLS1.3', 'TLS1.2']) {
  test(`socat fed from a pipe gets the whole late answer over ${version}`, async (t) => {
    const { port } = await serve(t, late(t), identity('server'))
    const options = `verify=0,openssl-min-proto-version=${version},openssl-max-proto-version=${version}`
    const address = `OPENSSL:127.0.0.1:${port},${options}`
    check(t, await fed(t, 'hello', 'socat', ...patience, '-', address), 5)
  })
}

for (const transport of networks) {
  test(`a client of Node’s that half-closes gets the whole late answer over ${transport}`, async (t) => {
    const client = await open(t, late(t), transport)
    client.end(Buffer.alloc(big))
    check(t, { code: 0, output: await readAll(client) }, big)
  })
}

for (const version of ['-tls1_3', '-tls1_2']) {
  const connect = (port: number): string[] => ['-connect', `127.0.0.1:${port}`, version]

  test(`openssl s_client ${version} with -quiet gets an answer that does not wait for the end`, async (t) => {
    const app = new Cio().useConnection(async (ctx) => {
      for await (const chunk of ctx) {
        ctx.stream.write(`got ${chunk.length}\n`)
        ctx.stream.write(Buffer.alloc(big, 'x'))
        break
      }
    })
    app.on('error', (error) => t.fail(String(error)))
    const { port } = await serve(t, app, identity('server'))
    check(t, await fed(t, 'hello', 'openssl', 's_client', '-quiet', ...connect(port)), 5)
  })

  test(`openssl s_client ${version} is heard to the end where it does not wait for an answer`, async (t) => {
    const sizes: number[] = []
    const app = new Cio().useConnection(async (ctx) => {
      let size = 0
      for await (const chunk of ctx) size += chunk.length
      sizes.push(size)
    })
    app.on('error', (error) => t.fail(String(error)))
    app.on('remoteError', (error) => t.fail(String(error)))
    const closed = nextEvent(app, 'close')
    const { port } = await serve(t, app, identity('server'))
    t.is((await fed(t, 'hello', 'openssl', 's_client', ...connect(port))).code, 0)
    const [ctx] = await closed
    t.true(ctx.encrypted)
    t.deepEqual(sizes, [5])
  })
}
