/** Servers, clients and events that the tests share. */

import type { ExecutionContext } from 'ava'
import { Cio, type ConnectionContext, type ConnectionEnd, type ServerContext } from 'cio'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import type { Terminal } from '../src/cli.ts'
import type { Watch } from '../src/index.ts'

/** An app that sends back what comes. */
export function echoApp(): Cio {
  return new Cio().useConnection(async function echo({ stream }, next) {
    stream.pipe(stream)
    await next()
  })
}

/** Closes an app, and ends its watch, when the test is over. */
export function closeAfter(t: ExecutionContext, app: Cio, watching?: Watch): void {
  t.teardown(async () => {
    await app.close({ timeout: 0 })
    watching?.[Symbol.dispose]()
  })
}

/** A plain socket to a server. */
export async function dial(t: ExecutionContext, { port }: ServerContext): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Sends, and waits until the server has sent back as much. */
export async function exchange(socket: Socket, text: string): Promise<void> {
  socket.write(text)
  for (let missing = text.length; missing > 0;) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    missing -= chunk.length
  }
}

/** The next connection of an app. */
export async function accepted(app: Cio): Promise<ConnectionContext> {
  const [ctx] = (await once(app, 'connection')) as [ConnectionContext]
  return ctx
}

/** The next end of a connection of an app. */
export async function ended(app: Cio): Promise<ConnectionEnd> {
  const [, end] = (await once(app, 'close')) as [ConnectionContext, ConnectionEnd]
  return end
}

/** The value of a series in Prometheus' text, by its name and some of its labels. */
export function valueOf(text: string, name: string, labels: Record<string, string> = {}): number {
  const found = text.split('\n').filter((line) => {
    const isOf = line.startsWith(`${name}{`) || line.startsWith(`${name} `)
    return (
      isOf && Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`))
    )
  })
  if (found.length === 0) return Number.NaN
  return found.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
}

/** Whether a program is there; says aloud if it is not, for tests that are skipped then. */
export function has(t: ExecutionContext, program: string, debian: string): boolean {
  const { error } = spawnSync(program, ['--version'])
  if (!error) return true
  t.log(`skipped: ${program} is not here (apt-get install ${debian})`)
  t.pass()
  return false
}

/** Collects what a command writes. */
export function terminal(columns = 200): Terminal & { text(): string } {
  let text = ''
  const output = { write: (chunk: string) => ((text += chunk), true) }
  return {
    output: output as unknown as Terminal['output'],
    columns,
    rows: 40,
    paint: (_, painted) => painted,
    text: () => text,
  }
}
