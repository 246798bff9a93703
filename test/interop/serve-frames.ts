/** Servers and relays of a format, for programs of other people. */

import type { ExecutionContext } from 'ava'
import { Cio, type FramesOptions, frames } from '../../src/index.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'

const least = 3
type Frame = string | Uint8Array
export type Answer = (frame: Buffer) => readonly Frame[]

export interface Talk {
  readonly port: number
  readonly received: Buffer[]
  /** Checks that at least three frames passed each way, and that nothing was wrong. */
  readonly check: (fewest?: { received: number; sent: number }) => void
}

/** A server of a format that answers each frame. */
export async function serveFrames(
  t: ExecutionContext,
  options: FramesOptions,
  answer: Answer,
  greeting: readonly Frame[] = [],
): Promise<Talk> {
  const received: Buffer[] = []
  let sent = 0
  const app = new Cio().useConnection(frames(options)).useConnection(async ({ messages }) => {
    const send = async (all: readonly Frame[]): Promise<void> => {
      await messages.sendMany(all)
      sent += all.length
    }
    await send(greeting)
    for await (const frame of messages) {
      received.push(Buffer.from(frame))
      await send(answer(frame))
    }
  })
  const told = recordEvents(app)
  const { port } = await serve(t, app)
  const check: Talk['check'] = (fewest = { received: least, sent: least }) => {
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
    t.true(received.length >= fewest.received, `${received.length} received`)
    t.true(sent >= fewest.sent, `${sent} sent`)
  }
  return { port, received, check }
}

/** Stands between a client and a server of a format: reads each frame and sends it on, both ways. */
export async function relayFrames(
  t: ExecutionContext,
  options: FramesOptions,
  target: number,
): Promise<Talk> {
  const received: Buffer[] = []
  let sent = 0
  const client = new Cio().useClient(frames(options))
  t.teardown(() => client.close({ timeout: 0 }))
  const app = new Cio().useConnection(frames(options)).useConnection(async ({ messages }) => {
    const upstream = await client.connect({ port: target, host: '127.0.0.1' })
    const back = upstream.messages.each((frame) => {
      sent += 1
      return messages.send(frame)
    })
    await messages.each((frame) => {
      received.push(Buffer.from(frame))
      return upstream.messages.send(frame)
    })
    upstream.stream.end()
    await back
  })
  const told = recordEvents(app)
  const { port } = await serve(t, app)
  const check: Talk['check'] = (fewest = { received: least, sent: least }) => {
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
    t.true(received.length >= fewest.received, `${received.length} from the client`)
    t.true(sent >= fewest.sent, `${sent} from the server`)
  }
  return { port, received, check }
}
